// One export: how far it is, what it holds, and what can be done with it.
import { useComputed, useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { type Area, areaOfAsked, boundsOf, boxArea } from "../area.ts";
import { asCurl, asKafkaRecord, copyText } from "../copying.ts";
import { area, description, layerId, layerName, layers, setArea, zoom } from "../draft.ts";
import { focusOnTitle } from "../focus.ts";
import { exports, isOpen, nameOf, put } from "../follow.ts";
import { resolution, zoomOf } from "../grid.ts";
import { ago, bytes, day, moment, number, t } from "../language.ts";
import { fitWanted, growth, inspected, opened } from "../map_state.ts";
import { announce } from "../notices.ts";
import { go } from "../route.ts";
import { call, type CreateBody, Fault, inPlainWords, renewals, session, type WholeExport } from "../service.ts";
import { detailFacts } from "./detail.tsx";
import { pathOf, Progress, StatusBadge } from "./export_list.tsx";
import { Icon } from "./icon.tsx";

const EXTENSION_DAYS = 30;
/** No more letters fit into the lines of a title. */
const MOST_TITLE_LETTERS = 80;
const DAY_MS = 86_400_000;
type ZoomCounts = { zoom: number; written: number; missing: number };

export function ExportView({ id }: { id: string }) {
  const whole = useSignal<WholeExport | null>(null);
  const fault = useSignal("");
  const load = async (): Promise<void> => {
    try {
      whole.value = await call<WholeExport>("GET", `/exports/${id}`);
      put([listedForm(whole.value)]);
      fault.value = "";
    } catch (error) {
      if (whole.value !== null) return;
      fault.value = error instanceof Fault && error.status === 404 ? t("exportGone") : inPlainWords(error);
    }
  };
  // The list's entry is the newest; the whole is asked again when its status has changed.
  const status = useComputed(() => exports.value.get(id)?.status ?? null);
  const now = renewals.value;
  useEffect(() => void load(), [status.value, now]);
  const known = whole.value && { ...whole.value, ...exports.value.get(id) };
  const isKnown = known !== null;
  useEffect(() => void (known && showOnMap(known)), [isKnown, status.value, known?.zoom]);
  useEffect(() => {
    if (!known) return;
    fitWanted.value = { box: boundsOf(areaOf(known)) };
    focusOnTitle();
  }, [isKnown]);
  useEffect(() => leaveMap, []);
  const written = known?.tiles.written ?? 0;
  useEffect(() => void (growth.value = written), [written]);
  return (
    <div class="form">
      <a class="back" href="#/exports">
        <Icon name="back" /> {t("allExports")}
      </a>
      {fault.value && (
        <p class="fault" role="alert">
          {fault.value}
        </p>
      )}
      {!known && !fault.value && <p class="hint">{t("loading")}</p>}
      {known && <Whole export={known} reload={load} />}
    </div>
  );
}

/** What lists tell, from what one export tells. */
function listedForm(whole: WholeExport): WholeExport {
  const { fileUri, metadataUri, fileSize, packageName } = whole.result ?? {};
  return {
    ...whole,
    fileUri: fileUri ?? null,
    metadataUri: metadataUri ?? null,
    fileSize: fileSize ?? null,
    packageName: packageName ?? null,
  };
}

const areaOf = (one: WholeExport): Area =>
  one.bbox === null && one.bounds ? boxArea(...one.bounds) : areaOfAsked(one.bbox);

function showOnMap(one: WholeExport): void {
  const asked = areaOf(one);
  opened.value = { layerId: one.dbId, area: asked, zoom: one.zoom };
  inspected.value =
    (one.status === "Completed" || one.status === "In-Progress") && one.zoom !== null
      ? {
          id: one.requestId,
          zooms: [one.minZoom ?? 0, one.zoom],
          area: asked,
          growing: one.status === "In-Progress",
          missing: one.tiles.missing ?? 0,
          failed: one.tiles.failed ?? 0,
        }
      : null;
}

function leaveMap(): void {
  inspected.value = null;
  opened.value = null;
}

function Whole({ export: one, reload }: { export: WholeExport; reload: () => Promise<void> }) {
  return (
    <article class="stack whole" aria-labelledby="export-title">
      <div class="export-head">
        <h2 id="export-title" class="title brief" tabIndex={-1} title={nameOf(one)}>
          <bdi>{nameOf(one)}</bdi>
        </h2>
        <StatusBadge status={one.status} />
      </div>
      {isOpen(one) && <Progress export={one} />}
      <Reason export={one} />
      <Actions export={one} reload={reload} />
      <Facts export={one} />
      {one.status === "Completed" && one.metadataUri && <Zooms address={pathOf(one.metadataUri)} />}
      <History export={one} />
      <Copies export={one} />
    </article>
  );
}

function Reason({ export: one }: { export: WholeExport }) {
  if (one.status !== "Failed" && one.status !== "Expired") return null;
  const reason = one.errorReason ?? "";
  const todo =
    one.status === "Expired"
      ? t(isBeforeItsTime(one) ? "todo_deleted" : "todo_expired")
      : /space|disk|fit/i.test(reason)
        ? t("todo_space")
        : /tile .* cannot be read/i.test(reason)
          ? t("todo_source")
          : t("todo_failed");
  return (
    <div class="card reason">
      {reason && (
        <p>
          <strong>{t("reason")}:</strong> <bdi>{reason}</bdi>
        </p>
      )}
      <p>
        <strong>{t("whatToDo")}:</strong> {todo}
      </p>
    </div>
  );
}

/** Gone though its time is not over: deleted, or lost and not offered any more. */
const isBeforeItsTime = (one: WholeExport): boolean =>
  one.result !== null && (one.expirationTime === null || one.expirationTime < one.result.expirationTime);

function Actions({ export: one, reload }: { export: WholeExport; reload: () => Promise<void> }) {
  const busy = useSignal(false);
  const sure = useSignal(false);
  const order = async (method: string, end = "", body?: unknown, told?: (answer: WholeExport) => string): Promise<void> => {
    if (busy.value) return;
    busy.value = true;
    try {
      const answer = await call<WholeExport & { requestId: string }>(method, `/exports/${one.requestId}${end}`, body);
      if (end === "/retry") go(`#/exports/${answer.requestId}`);
      else {
        put([listedForm(answer)]);
        if (told) announce(told(answer));
        await reload();
      }
    } catch (error) {
      announce(inPlainWords(error), true);
    } finally {
      busy.value = false;
      sure.value = false;
    }
  };
  const later = new Date(Math.max(Date.now(), Date.parse(one.expirationTime ?? "") || 0) + EXTENSION_DAYS * DAY_MS);
  const extend = () =>
    order("PATCH", "", { expirationTime: later.toISOString() }, (answer) =>
      t("keptLonger", { date: day(answer.expirationTime ?? later.toISOString()) }),
    );
  if (isOpen(one)) {
    return (
      <div class="row" key="open">
        <button type="button" aria-disabled={busy.value} onClick={() => void order("DELETE")}>
          {t("cancelExport")}
        </button>
      </div>
    );
  }
  if (one.status !== "Completed") {
    return (
      <div class="row" key="ended">
        <button type="button" class="primary" aria-disabled={busy.value} onClick={() => void order("POST", "/retry")}>
          {t("retry")}
        </button>
      </div>
    );
  }
  return (
    <>
      <div class="row">
        {one.fileUri && (
          <a class="button primary" href={pathOf(one.fileUri)} download>
            <Icon name="download" /> {t("downloadPackage")}
          </a>
        )}
        {one.metadataUri && (
          <a class="button" href={pathOf(one.metadataUri)} download>
            {t("downloadMetadata")}
          </a>
        )}
      </div>
      <div class="card keeping">
        <p>{one.pinned ? t("keptForGood") : one.expirationTime && t("expires", { date: day(one.expirationTime) })}</p>
        <div class="row">
          {!one.pinned && (
            <button type="button" aria-disabled={busy.value} onClick={() => void extend()}>
              {t("extend")}
            </button>
          )}
          <button
            type="button"
            aria-disabled={busy.value}
            onClick={() => void order("PATCH", "", { pinned: !one.pinned })}
          >
            {one.pinned ? t("unpin") : t("pin")}
          </button>
          {!sure.value && (
            <button type="button" class="danger" onClick={() => (sure.value = true)}>
              {t("remove")}
            </button>
          )}
        </div>
        {sure.value && (
          <Sure busy={busy.value} onYes={() => void order("DELETE")} onNo={() => (sure.value = false)} />
        )}
      </div>
    </>
  );
}

/** Asks again before a package is deleted; the safe answer has the focus. */
function Sure({ busy, onYes, onNo }: { busy: boolean; onYes: () => void; onNo: () => void }) {
  const no = useRef<HTMLButtonElement>(null);
  useLayoutEffect(() => no.current?.focus(), []);
  return (
    <div class="too-much" role="alert">
      <p>{t("removeSure")}</p>
      <div class="row">
        <button type="button" class="danger" aria-disabled={busy} onClick={onYes}>
          {t("remove")}
        </button>
        <button ref={no} type="button" onClick={onNo}>
          {t("cancel")}
        </button>
      </div>
    </div>
  );
}

function Facts({ export: one }: { export: WholeExport }) {
  const layer = layers.value?.find((other) => other.id === one.dbId);
  const name = nameOf(one);
  const facts: [string, string | null][] = [
    [t("layer"), layerName(layer) || one.dbId],
    [t("detail"), one.zoom === null ? null : `${t("zoom", { zoom: String(one.zoom) })} · ${detailFacts(one.zoom).metres}`],
    [t("tilesLabel"), one.tiles.expected ? `${number(one.tiles.written ?? 0)} / ${number(one.tiles.expected)}` : null],
    [t("missing"), one.tiles.missing ? number(one.tiles.missing) : null],
    [t("failedTiles"), one.tiles.failed ? number(one.tiles.failed) : null],
    [t("sizeLabel"), one.fileSize ? bytes(one.fileSize) : one.bytes.written ? bytes(one.bytes.written) : null],
    [t("by"), session.value?.authRequired ? one.client : null],
  ];
  return (
    <dl class="facts-list">
      {facts.map(
        ([label, value]) =>
          value && (
            <div key={label}>
              <dt>{label}</dt>
              <dd>
                <bdi>{value}</bdi>
              </dd>
            </div>
          ),
      )}
      <div>
        <dt>{t("requestId")}</dt>
        <dd>
          <code dir="ltr">{one.requestId}</code>
        </dd>
      </div>
      {one.result?.sha256 && (
        <div>
          <dt>{t("sha256")}</dt>
          <dd>
            <code dir="ltr">{one.result.sha256}</code>
          </dd>
        </div>
      )}
      {name.length > MOST_TITLE_LETTERS && (
        <div>
          <dt>{t("name")}</dt>
          <dd>
            <bdi>{name}</bdi>
          </dd>
        </div>
      )}
    </dl>
  );
}

function Zooms({ address }: { address: string }) {
  const counts = useSignal<ZoomCounts[]>([]);
  useEffect(() => {
    call<{ tiles: ZoomCounts[] }>("GET", address)
      .then((metadata) => (counts.value = metadata.tiles))
      .catch(() => undefined);
  }, [address]);
  if (counts.value.length === 0) return null;
  return (
    <details class="fold">
      <summary>{t("byZoom")}</summary>
      <table class="table">
        <thead>
          <tr>
            <th scope="col">{t("zoom", { zoom: "" })}</th>
            <th scope="col">{t("written")}</th>
            <th scope="col">{t("missing")}</th>
          </tr>
        </thead>
        <tbody>
          {counts.value.map((one) => (
            <tr key={one.zoom}>
              <th scope="row">{one.zoom}</th>
              <td>{number(one.written)}</td>
              <td>{number(one.missing)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </details>
  );
}

function History({ export: one }: { export: WholeExport }) {
  return (
    <details class="fold">
      <summary>{t("history")}</summary>
      <ol class="history">
        {one.history.map((change) => (
          <li key={change.at + change.status}>
            <span>{t(`status_${change.status}`)}</span>
            <time dateTime={change.at} title={ago(change.at)}>
              {moment(change.at)}
            </time>
          </li>
        ))}
      </ol>
    </details>
  );
}

function bodyOf(one: WholeExport): CreateBody {
  return {
    dbId: one.dbId,
    ...(one.bbox === null ? {} : { bbox: one.bbox }),
    targetResolution: one.targetResolution ?? resolution(one.zoom ?? 0),
    ...(one.description ? { description: one.description } : {}),
  };
}

function Copies({ export: one }: { export: WholeExport }) {
  const link = `${location.origin}/#/exports/${one.requestId}`;
  const again = (): void => {
    layerId.value = one.dbId;
    setArea(areaOfAsked(one.bbox));
    zoom.value = one.zoom ?? (one.targetResolution ? zoomOf(one.targetResolution) : null);
    description.value = one.description ?? "";
    fitWanted.value = { box: area.value && boundsOf(area.value) };
    go("#/new");
  };
  const needsToken = session.value?.authRequired ?? false;
  return (
    <div class="row copies">
      <button type="button" onClick={again}>
        {t("again")}
      </button>
      <button type="button" onClick={() => void copyText(link, t("linkCopied"))}>
        {t("copyLink")}
      </button>
      <button type="button" onClick={() => void copyText(one.requestId)}>
        {t("copyId")}
      </button>
      <button type="button" onClick={() => void copyText(asCurl(bodyOf(one), needsToken))}>
        {t("copyCurl")}
      </button>
      <button type="button" onClick={() => void copyText(asKafkaRecord(bodyOf(one), one.client))}>
        {t("copyKafka")}
      </button>
    </div>
  );
}
