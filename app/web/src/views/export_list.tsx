// My exports: filter, cards with progress, more on demand.
import { effect } from "@preact/signals";
import { useEffect, useLayoutEffect } from "preact/hooks";
import type { Box } from "../area.ts";
import { layerName, layers } from "../draft.ts";
import { isLive } from "../feed.ts";
import {
  hasMore,
  isOpen,
  layerFilter,
  listed,
  listFault,
  listState,
  loadMore,
  nameOf,
  noticesBlocked,
  noticesPossible,
  startOver,
  statusFilter,
  toggleNotices,
  wantsNotices,
} from "../follow.ts";
import { ago, bytes, day, duration, number, t } from "../language.ts";
import { outlines } from "../map_state.ts";
import { announce } from "../notices.ts";
import { type Export, inPlainWords, type Status } from "../service.ts";
import { Icon } from "./icon.tsx";

const STATUSES: Status[] = ["Pending", "In-Progress", "Completed", "Failed", "Aborted", "Expired"];

const MOST_OUTLINES = 200;

/** A box over the antimeridian as the map draws it: in one piece. */
const unrolled = ([west, south, east, north]: Box): Box => [west, south, west > east ? east + 360 : east, north];

/** How far down the list was left, of the panel and of the page. */
let place: [panel: number, page: number] = [0, 0];

function keepPlace(): () => void {
  const panel = document.getElementById("panel") as HTMLElement;
  panel.scrollTop = place[0];
  scrollTo(0, place[1]);
  const note = (): void => void (place = [panel.scrollTop, scrollY]);
  document.addEventListener("scroll", note, true);
  return () => document.removeEventListener("scroll", note, true);
}

export function ExportList() {
  useLayoutEffect(keepPlace, []);
  useEffect(() => {
    let first = true;
    return effect(() => {
      statusFilter.value;
      layerFilter.value;
      if (!first) startOver();
      first = false;
    });
  }, []);
  const shown = listed.value;
  useEffect(() => {
    outlines.value = shown.slice(0, MOST_OUTLINES).flatMap((one) => (one.bounds ? [unrolled(one.bounds)] : []));
    return () => void (outlines.value = []);
  }, [shown]);
  const filtered = statusFilter.value !== "" || layerFilter.value !== "";
  return (
    <div class="form">
      <Filters />
      <div class="list-state">
        <span class={isLive.value ? "live on" : "live"}>{isLive.value ? t("live") : t("liveOff")}</span>
        <Notify />
      </div>
      {listState.value === "failed" && (
        <p class="fault" role="alert">
          {listFault.value}
        </p>
      )}
      {listState.value === "loading" && shown.length === 0 && <p class="hint">{t("loading")}</p>}
      {listState.value === "loaded" && shown.length === 0 && (
        <div class="empty">
          <p>{filtered ? t("noExportsFound") : t("noExports")}</p>
          {filtered ? (
            <button type="button" onClick={clearFilter}>
              {t("clearFilter")}
            </button>
          ) : (
            <a class="button primary" href="#/new">
              {t("tabNew")}
            </a>
          )}
        </div>
      )}
      <ul class="exports">
        {shown.map((one) => (
          <li key={one.requestId}>
            <ExportCard export={one} />
          </li>
        ))}
      </ul>
      {hasMore.value && (
        <button type="button" class="wide" onClick={() => void loadMore().catch((error) => announce(inPlainWords(error), true))}>
          {t("more")}
        </button>
      )}
    </div>
  );
}

function clearFilter(): void {
  statusFilter.value = "";
  layerFilter.value = "";
}

function Filters() {
  const many = (layers.value?.length ?? 0) > 1;
  return (
    <div class="row filters">
      <label class="field">
        <span>{t("filterStatus")}</span>
        <select value={statusFilter.value} onChange={(event) => (statusFilter.value = event.currentTarget.value as Status | "")}>
          <option value="">{t("filterAll")}</option>
          {STATUSES.map((one) => (
            <option value={one} key={one}>
              {t(`status_${one}`)}
            </option>
          ))}
        </select>
      </label>
      {many && (
        <label class="field">
          <span>{t("filterLayer")}</span>
          <select value={layerFilter.value} onChange={(event) => (layerFilter.value = event.currentTarget.value)}>
            <option value="">{t("filterAll")}</option>
            {layers.value?.map((one) => (
              <option value={one.id} key={one.id}>
                {layerName(one)}
              </option>
            ))}
          </select>
        </label>
      )}
    </div>
  );
}

function Notify() {
  if (!noticesPossible) return null;
  if (noticesBlocked.value) return <span class="hint">{t("notifyBlocked")}</span>;
  return (
    <button type="button" class="quiet" aria-pressed={wantsNotices.value} onClick={() => void toggleNotices()}>
      {wantsNotices.value ? t("notifyOn") : t("notifyMe")}
    </button>
  );
}

function ExportCard({ export: one }: { export: Export }) {
  const name = nameOf(one);
  return (
    <article class="card export-card" data-status={one.status}>
      <div class="export-head">
        <a href={`#/exports/${one.requestId}`} class="brief" title={name}>
          <bdi>{name}</bdi>
        </a>
        <StatusBadge status={one.status} />
      </div>
      {isOpen(one) && <Progress export={one} />}
      <div class="export-foot">
        <span class="hint">{footOf(one)}</span>
        {one.status === "Completed" && one.fileUri && (
          <a class="button" href={pathOf(one.fileUri)} download aria-label={`${t("download")}: ${name}`}>
            <Icon name="download" /> {t("download")}
          </a>
        )}
      </div>
      {one.status === "Failed" && one.errorReason && (
        <p class="fault">
          <bdi>{one.errorReason}</bdi>
        </p>
      )}
    </article>
  );
}

function footOf(one: Export): string {
  const parts = [ago(one.acceptedAt)];
  if (one.status === "Completed") {
    parts.push(t("tiles", { n: one.tiles.written ?? 0 }));
    if (one.fileSize) parts.push(bytes(one.fileSize));
    if (one.pinned) parts.push(t("keptForGood"));
    else if (one.expirationTime) parts.push(t("expires", { date: day(one.expirationTime) }));
  }
  return parts.join(" · ");
}

/** Of a file's address only the path: the page may be open under another name of the service. */
export function pathOf(address: string): string {
  const url = new URL(address, location.href);
  return url.pathname + url.search;
}

export function StatusBadge({ status }: { status: Status }) {
  return (
    <span class="badge" data-status={status}>
      {t(`status_${status}`)}
    </span>
  );
}

export function Progress({ export: one }: { export: Export }) {
  return (
    <div class="progress">
      <progress max={100} value={one.percentage} aria-label={t("progressOf", { name: nameOf(one) })} />
      <span>
        {number(one.percentage)}% · {stepOf(one)}
      </span>
    </div>
  );
}

function stepOf(one: Export): string {
  if (one.queuePosition !== null) return t("queued", { n: one.queuePosition });
  if (one.phase === "assembling") return t("assembling");
  if (one.etaSeconds !== null) return t("left", { time: duration(one.etaSeconds) });
  return t("preparing");
}
