// What it will cost, and what to do when that is too much.
import { area, zoom } from "../draft.ts";
import { estimate } from "../estimate.ts";
import { bytes, duration, number, t } from "../language.ts";
import type { Estimate } from "../service.ts";

const LIMITS = {
  tiles: ["limit_tiles", number],
  bytes: ["limit_bytes", bytes],
  space: ["limit_space", bytes],
} as const;

export function EstimateCard() {
  const told = estimate.value;
  const known = told.state === "known" ? told.estimate : told.state === "asking" ? told.before : null;
  // A refusal is told beside the button that it disables.
  if (told.state === "refused" || told.state === "failed") return null;
  return (
    <section class="block" aria-labelledby="estimate-title">
      <h2 id="estimate-title">{t("estimate")}</h2>
      <div class="card estimate" role="status" aria-busy={told.state === "asking"}>
        {told.state === "none" && area.value === null && <p class="hint">{t("estimateNeedsArea")}</p>}
        {told.state === "asking" && !known && <p class="hint">{t("estimating")}</p>}
        {told.state === "unavailable" && <p class="hint">{t("noEstimate")}</p>}
        {known && <Figures estimate={known} />}
      </div>
      {known && <ByZoom estimate={known} />}
    </section>
  );
}

function Figures({ estimate: known }: { estimate: Estimate }) {
  return (
    <dl class="figures">
      <Figure label={t("tilesLabel")} value={number(known.tiles)} />
      <Figure label={t("sizeLabel")} value={bytes(known.bytes)} />
      <Figure label={t("timeLabel")} value={duration(known.seconds)} />
      <Figure label={t("freeLabel")} value={bytes(Math.max(0, known.freeBytes - known.reservedBytes))} />
    </dl>
  );
}

function Figure({ label, value }: { label: string; value: string }) {
  return (
    <div>
      <dt>{label}</dt>
      <dd>{value}</dd>
    </div>
  );
}

/** What it costs in one line, always in sight; when it is too much, what would fit. */
export function AtAGlance() {
  const told = estimate.value;
  if (told.state === "refused" || told.state === "failed") {
    return (
      <p class="fault" role="status">
        {told.why}
      </p>
    );
  }
  if (told.state !== "known") return null;
  const { tiles, bytes: size, seconds, fits } = told.estimate;
  if (!fits) return <TooMuch estimate={told.estimate} />;
  return (
    <p class="glance" aria-hidden="true">
      {t("tiles", { n: tiles })} · {bytes(size)} · {duration(seconds)}
    </p>
  );
}

function TooMuch({ estimate: known }: { estimate: Estimate }) {
  const broken = known.limits.filter((one) => one.actual > one.value);
  const suggested = known.suggestedZoom;
  return (
    <div class="too-much" role="status">
      <p>
        <strong>{t("tooMuch")}</strong>{" "}
        {broken.map((one) => {
          const [label, format] = LIMITS[one.limit as keyof typeof LIMITS] ?? ["limit_tiles", number];
          const values = { limit: t(label), actual: format(one.actual), value: format(one.value) };
          return <span key={one.limit}>{t("limitTold", values)}. </span>;
        })}
      </p>
      {suggested === null ? (
        <p>{t("nothingFits")}</p>
      ) : (
        <button type="button" onClick={() => (zoom.value = suggested)}>
          {t("useZoom", { zoom: String(suggested) })}
        </button>
      )}
    </div>
  );
}

function ByZoom({ estimate: known }: { estimate: Estimate }) {
  return (
    <details class="fold">
      <summary>{t("byZoom")}</summary>
      <table class="table">
        <thead>
          <tr>
            <th scope="col">{t("zoom", { zoom: "" })}</th>
            <th scope="col">{t("tilesLabel")}</th>
            <th scope="col">{t("sizeLabel")}</th>
          </tr>
        </thead>
        <tbody>
          {known.tilesByZoom.map((one) => (
            <tr key={one.zoom}>
              <th scope="row">{one.zoom}</th>
              <td>{number(one.tiles)}</td>
              <td>{bytes(one.bytes)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </details>
  );
}
