// Where: what was chosen, and the ways to choose it without the mouse.
import { useSignal } from "@preact/signals";
import {
  type Area,
  areaOfBox,
  type AreaProblem,
  boundsOf,
  boxArea,
  crosses,
  holesOf,
  MAX_VERTICES,
  parseText,
  squareKilometres,
  verticesOf,
} from "../area.ts";
import { type Axis, formatDecimal, formatDms, parseCoordinate } from "../coordinates.ts";
import { area, pastedText, setArea, SIDES, type Sides, typedSides } from "../draft.ts";
import { whyNoArea } from "../files.ts";
import { apart, number, t } from "../language.ts";
import { visibleBox } from "../map_state.ts";
import { takeArea, takeFiles } from "./file_drop.tsx";
import { Icon } from "./icon.tsx";

export function AreaChoice() {
  const chosen = area.value;
  // What was typed and not used yet is in sight again.
  const isTyping = useSignal({ sides: typedSides.peek() !== null, text: pastedText.peek() !== "" }).value;
  const view = (): void => {
    const box = visibleBox.ask();
    if (box) setArea(boxArea(...box));
  };
  return (
    <section class="block" aria-labelledby="area-title">
      <h2 id="area-title">{t("area")}</h2>
      <div class="card">
        <p class={chosen ? "chosen-area" : "hint"} role="status">
          {chosen ? summary(chosen) : t("areaHint")}
        </p>
        {chosen && verticesOf(chosen) > MAX_VERTICES && <TooManyVertices area={chosen} />}
        <div class="row">
          <button type="button" onClick={view}>
            <Icon name="view" /> {t("useView")}
          </button>
          <button type="button" aria-pressed={chosen?.kind === "whole"} onClick={() => setArea({ kind: "whole" })}>
            <Icon name="layer" /> {t("useLayer")}
          </button>
        </div>
        <details class="fold" open={isTyping.sides}>
          <summary>{t("coordinates")}</summary>
          <Coordinates />
        </details>
        <details class="fold" open={isTyping.text}>
          <summary>{t("pasteOrFile")}</summary>
          <Paste />
        </details>
      </div>
    </section>
  );
}

function summary(chosen: Area): string {
  if (chosen.kind === "whole") return t("areaWhole");
  const parts = [shape(chosen)];
  if (holesOf(chosen) > 0) parts.push(t("areaHoles", { n: holesOf(chosen) }));
  parts.push(t("areaSize", { km2: apart(number(Number(squareKilometres(chosen).toPrecision(3)), 2)) }));
  if (crosses(chosen)) parts.push(t("areaCrosses"));
  return parts.join(" · ");
}

function shape(chosen: Exclude<Area, { kind: "whole" }>): string {
  if (chosen.kind === "polygons") return t("areaPolygons", { n: chosen.polygons.length, vertices: verticesOf(chosen) });
  const [west, south, east, north] = chosen.box;
  const degrees = (value: number) => apart(`${number(value, value < 1 ? 4 : 2)}°`);
  return t("areaBox", { width: degrees(east - west), height: degrees(north - south) });
}

function TooManyVertices({ area: chosen }: { area: Area }) {
  const takeBox = (): void => {
    const bounds = boundsOf(chosen);
    if (bounds) setArea(boxArea(...bounds));
  };
  return (
    <div class="too-much" role="alert">
      <p>{t("tooManyVertices", { n: verticesOf(chosen), limit: MAX_VERTICES })}</p>
      <button type="button" onClick={takeBox}>
        {t("takeItsBox")}
      </button>
    </div>
  );
}

type Side = keyof Sides;
const AXES: Record<Side, Axis> = { west: "longitude", south: "latitude", east: "longitude", north: "latitude" };

/** What the fields show of an area while nobody types. */
function sidesOf(chosen: Area | null, dms: boolean): Sides {
  const form = (value: number, axis: Axis) => (dms ? formatDms(value, axis) : formatDecimal(value));
  const bounds = chosen && boundsOf(chosen);
  if (!bounds) return { west: "", south: "", east: "", north: "" };
  const [west, south, east, north] = bounds;
  return {
    west: form(west, "longitude"),
    south: form(south, "latitude"),
    east: form(east > 180 ? east - 360 : east, "longitude"),
    north: form(north, "latitude"),
  };
}

function Coordinates() {
  const found = useSignal<Partial<Sides>>({});
  const inDms = useSignal(false);
  const shown = typedSides.value ?? sidesOf(area.value, inDms.value);
  // Another area has come: what was wrong with the coordinates is gone with them.
  const faults = typedSides.value ? found.value : {};

  const take = (): void => {
    const typed = typedSides.value;
    if (!typed) return;
    const wrong: Partial<Sides> = {};
    const values: number[] = [];
    for (const side of ["west", "south", "east", "north"] as const) {
      if (!typed[side].trim()) continue;
      const parsed = parseCoordinate(typed[side]);
      const text = apart(typed[side]);
      const limit = AXES[side] === "latitude" ? 90 : 180;
      if (!parsed) wrong[side] = t("notCoordinate", { text });
      else if (parsed.axis && parsed.axis !== AXES[side]) wrong[side] = t("otherAxis", { text });
      else if (Math.abs(parsed.value) > limit) wrong[side] = t("beyondGlobe", { value: text, limit: String(limit) });
      else values.push(parsed.value);
    }
    found.value = wrong;
    if (values.length < SIDES.length) return;
    try {
      takeArea(areaOfBox(values));
    } catch (error) {
      found.value = { [(error as AreaProblem).kind === "westIsEast" ? "east" : "south"]: whyNoArea(error) };
    }
  };
  /** A box is whole only when somebody has left all its fields; another window is not another field. */
  const leave = (event: FocusEvent & { currentTarget: HTMLElement }): void => {
    const fields = event.currentTarget;
    if (!fields.contains(event.relatedTarget as Node | null) && !fields.contains(document.activeElement)) take();
  };
  return (
    <div class="stack">
      <div class="segments" role="group" aria-label={t("coordinates")}>
        <button type="button" aria-pressed={!inDms.value} onClick={() => (inDms.value = false)}>
          {t("decimal")}
        </button>
        <button type="button" aria-pressed={inDms.value} onClick={() => (inDms.value = true)}>
          {t("dms")}
        </button>
      </div>
      <div class="compass" onFocusOut={leave}>
        {SIDES.map((side) => (
          <label class={`field ${side}`} key={side}>
            <span>{t(side)}</span>
            <input
              dir="ltr"
              value={shown[side]}
              aria-invalid={faults[side] !== undefined}
              aria-describedby={faults[side] ? `fault-${side}` : "coordinates-hint"}
              onInput={(event) => (typedSides.value = { ...shown, [side]: event.currentTarget.value })}
              onKeyDown={(event) => event.key === "Enter" && (event.preventDefault(), take())}
            />
          </label>
        ))}
      </div>
      {SIDES.map(
        (side) =>
          faults[side] && (
            <p class="fault" id={`fault-${side}`} role="alert" key={side}>
              {t(side)}: {faults[side]}
            </p>
          ),
      )}
      <p class="hint" id="coordinates-hint">
        {t("coordinatesHint")}
      </p>
    </div>
  );
}

function Paste() {
  const fault = useSignal("");
  const take = (): void => {
    try {
      takeArea(parseText(pastedText.value));
      fault.value = "";
    } catch (error) {
      fault.value = whyNoArea(error);
    }
  };
  const choose = (event: Event & { currentTarget: HTMLInputElement }): void => {
    const files = [...(event.currentTarget.files ?? [])];
    event.currentTarget.value = "";
    void takeFiles(files);
  };
  return (
    <div class="stack">
      <label class="field">
        <span>{t("pasteLabel")}</span>
        <textarea
          rows={4}
          dir="ltr"
          spellcheck={false}
          value={pastedText.value}
          aria-invalid={fault.value !== ""}
          onInput={(event) => (pastedText.value = event.currentTarget.value)}
        />
      </label>
      <p class="fault" role="alert">
        {fault.value}
      </p>
      <div class="row">
        <button type="button" disabled={!pastedText.value.trim()} onClick={take}>
          {t("pasteUse")}
        </button>
        <label class="button">
          <Icon name="file" /> {t("chooseFile")}
          <input class="unseen" type="file" multiple accept=".geojson,.json,.kml,.kmz,.gpkg,.zip" onChange={choose} />
        </label>
      </div>
      <p class="hint">{t("fileHint")}</p>
    </div>
  );
}

