// The map with its buttons.
import { computed, effect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { type Area, boundsOf, boxArea, isWithin, type Polygon, polygonsArea, type Position, ringOfBox } from "../area.ts";
import { formatDms } from "../coordinates.ts";
import { area, chosenZoom, layer, layers, setArea, undo, canUndo } from "../draft.ts";
import { t } from "../language.ts";
import { AreaMap, boxOfLayer, type Inspected, type Shape, type Tool } from "../map.ts";
import { fitWanted, gridShown, growth, inspected, opened, outlines, pointer, tool, visibleBox } from "../map_state.ts";
import { announce } from "../notices.ts";
import { route } from "../route.ts";
import { Icon, type IconName } from "./icon.tsx";

const shownLayer = computed(() => {
  const now = opened.value;
  return now ? (layers.value?.find((one) => one.id === now.layerId) ?? null) : layer.value;
});
const shownArea = computed(() => (route.value.view === "new" ? area.value : (opened.value?.area ?? null)));
const drawing = computed(() => (route.value.view === "new" ? tool.value : null));
const HINTS = { box: "drawBox", polygon: "drawPolygon", part: "drawPart", hole: "drawHole" } as const;

declare global {
  interface Window {
    /** Where a position is on the map, for tests that draw with the mouse. */
    pixelOf?: (position: Position) => [number, number];
  }
}

export function MapView() {
  const target = useRef<HTMLDivElement>(null);
  useEffect(() => mount(target.current as HTMLDivElement), []);
  const attribution = shownLayer.value?.attribution;
  return (
    <section class="map-place" aria-label={t("mapControls")}>
      <div class="map" ref={target} tabIndex={0} role="application" aria-label={t("mapLabel")} dir="ltr" />
      {route.value.view === "new" && <Tools />}
      <div class="map-buttons" role="group" aria-label={t("mapControls")}>
        <MapButton icon="plus" label={t("zoomIn")} onClick={() => zoom(1)} />
        <MapButton icon="minus" label={t("zoomOut")} onClick={() => zoom(-1)} />
        <MapButton icon="globe" label={t("wholeWorld")} onClick={() => (fitWanted.value = { box: null })} />
        <MapButton icon="target" label={t("toArea")} onClick={fitArea} />
        <MapButton icon="grid" label={t("showGrid")} pressed={gridShown.value} onClick={() => (gridShown.value = !gridShown.value)} />
      </div>
      <p class="map-hint" role="status">
        {drawing.value && t(HINTS[drawing.value])}
        {!drawing.value && inspected.value && inspectHint(inspected.value)}
      </p>
      <Pointer />
      {attribution && <p class="attribution">{attribution}</p>}
    </section>
  );
}

function inspectHint({ growing, missing }: Inspected): string {
  if (growing) return t("growHint");
  return missing > 0 ? `${t("inspectHint")} ${t("inspectMissing", { n: missing })}` : t("inspectHint");
}

function Tools() {
  const choose = (wanted: Tool) => () => (tool.value = tool.value === wanted ? null : wanted);
  const hasShape = area.value !== null && area.value.kind !== "whole";
  return (
    <div class="map-tools" role="toolbar" aria-label={t("mapTools")}>
      <MapButton icon="box" text={t("toolBox")} pressed={tool.value === "box"} onClick={choose("box")} />
      <MapButton icon="polygon" text={t("toolPolygon")} pressed={tool.value === "polygon"} onClick={choose("polygon")} />
      {hasShape && <MapButton icon="part" label={t("toolPart")} pressed={tool.value === "part"} onClick={choose("part")} />}
      {hasShape && <MapButton icon="hole" label={t("toolHole")} pressed={tool.value === "hole"} onClick={choose("hole")} />}
      {canUndo.value && <MapButton icon="undo" label={t("undo")} onClick={undo} />}
      {area.value && <MapButton icon="clear" label={t("clear")} onClick={() => setArea(null)} />}
    </div>
  );
}

function MapButton(properties: { icon: IconName; text?: string; label?: string; pressed?: boolean; onClick: () => void }) {
  return (
    <button
      type="button"
      class={properties.text ? "map-button" : "map-button square"}
      aria-label={properties.label}
      title={properties.label}
      aria-pressed={properties.pressed}
      onClick={properties.onClick}
    >
      <Icon name={properties.icon} />
      {properties.text && <span>{properties.text}</span>}
    </button>
  );
}

function Pointer() {
  const at = pointer.value;
  if (!at) return null;
  const lon = ((((at[0] + 180) % 360) + 360) % 360) - 180;
  return (
    <p class="pointer" aria-hidden="true" dir="ltr">
      {at[1].toFixed(4)}, {lon.toFixed(4)}
      <span>
        {formatDms(at[1], "latitude")} {formatDms(lon, "longitude")}
      </span>
    </p>
  );
}

let zoom: (steps: number) => void = () => undefined;

function fitArea(): void {
  fitWanted.value = { box: shownArea.value && boundsOf(shownArea.value) };
}

function mount(target: HTMLDivElement): () => void {
  const map = new AreaMap(target, {
    onShape: takeShape,
    onEdit: (polygons) => setArea(polygonsArea(polygons)),
    onPointer: (position) => (pointer.value = position),
  });
  window.pixelOf = (position) => map.pixelOf(position);
  zoom = (steps) => map.zoomBy(steps);
  visibleBox.ask = () => map.visibleBox();
  let fitted: string | null = null;
  const stops = [
    effect(() => {
      const wanted = shownLayer.value;
      // From one export to another the map does not turn to the form's layer for a moment.
      if (route.value.view === "export" && !opened.value && fitted) return;
      map.showLayer(wanted);
      if (wanted && fitted !== wanted.id) {
        const isFirst = fitted === null;
        fitted = wanted.id;
        const shown = shownArea.peek();
        map.fit((shown && boundsOf(shown)) ?? boxOfLayer(wanted), isFirst);
      }
    }),
    effect(() => map.showArea(shownArea.value)),
    effect(() => map.use(drawing.value)),
    effect(() => {
      // Its footprint tells which tiles a package cannot have.
      void shownLayer.value;
      map.inspect(inspected.value);
    }),
    effect(() => map.grow(growth.value)),
    effect(() => map.outline(outlines.value)),
    effect(() => map.showGrid(gridShown.value ? (opened.value ? opened.value.zoom : chosenZoom.value) : null)),
    effect(() => {
      if (fitWanted.value) map.fit(fitWanted.value.box);
    }),
  ];
  const escape = (event: KeyboardEvent): void => {
    if (event.key === "Escape" && tool.value !== null) tool.value = null;
  };
  addEventListener("keydown", escape);
  return () => {
    removeEventListener("keydown", escape);
    for (const stop of stops) stop();
  };
}

function takeShape(shape: Shape): void {
  if (shape.tool === "box") {
    const [outer] = shape.polygon;
    const lons = outer?.map(([lon]) => lon) ?? [];
    const lats = outer?.map(([, lat]) => lat) ?? [];
    setArea(boxArea(Math.min(...lons), Math.min(...lats), Math.max(...lons), Math.max(...lats)));
  } else if (shape.tool === "polygon") setArea(polygonsArea([shape.polygon]));
  else if (shape.tool === "part") setArea(polygonsArea([...partsOf(area.value), shape.polygon]));
  else cutHole(shape.polygon);
  tool.value = null;
}

function partsOf(from: Area | null): Polygon[] {
  if (from === null || from.kind === "whole") return [];
  return from.kind === "box" ? [[ringOfBox(from.box)]] : from.polygons;
}

function cutHole([ring]: Polygon): void {
  const start = ring?.[0];
  const parts = partsOf(area.value);
  const index = parts.findIndex(([outer]) => start && outer && isWithin(start, outer));
  const part = parts[index];
  if (!ring || !part) return announce(t("holeOutside"), true);
  setArea(polygonsArea(parts.map((one) => (one === part ? [...part, ring] : one))));
}
