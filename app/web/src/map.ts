// The map: a layer's own tiles in its grid, the area on it, and what a package holds.
import "ol/ol.css";
import ScaleLine from "ol/control/ScaleLine.js";
import { getIntersection, isEmpty } from "ol/extent.js";
import Feature from "ol/Feature.js";
import type Geometry from "ol/geom/Geometry.js";
import MultiLineString from "ol/geom/MultiLineString.js";
import MultiPolygon from "ol/geom/MultiPolygon.js";
import Point from "ol/geom/Point.js";
import type ImageTile from "ol/ImageTile.js";
import DragBox from "ol/interaction/DragBox.js";
import { defaults as interactions } from "ol/interaction/defaults.js";
import Draw, { createBox } from "ol/interaction/Draw.js";
import Modify from "ol/interaction/Modify.js";
import TileLayer from "ol/layer/Tile.js";
import VectorLayer from "ol/layer/Vector.js";
import OlMap from "ol/Map.js";
import VectorSource from "ol/source/Vector.js";
import XYZ from "ol/source/XYZ.js";
import Fill from "ol/style/Fill.js";
import Stroke from "ol/style/Stroke.js";
import Style from "ol/style/Style.js";
import Text from "ol/style/Text.js";
import type Tile from "ol/Tile.js";
import TileGrid from "ol/tilegrid/TileGrid.js";
import View from "ol/View.js";
import {
  type Area,
  type Box,
  boundsOf,
  MAX_VERTICES,
  type Polygon,
  type Position,
  ringOfBox,
  verticesOf,
} from "./area.ts";
import { MAX_ZOOM, resolution, tileName, tileSize, zoomOf } from "./grid.ts";
import type { Layer } from "./service.ts";

const PROJECTION = "EPSG:4326";
export type Tool = "box" | "polygon" | "part" | "hole" | null;
export type Shape = { tool: Exclude<Tool, null>; polygon: Polygon };

const MOST_SHOWN_VERTICES = 2000;
const MOST_GRID_LINES = 80;
/** Tiles that are smaller on the screen have no room for their names, px. */
const NAMED_FROM_PX = 110;
const ANIMATION_MS = 250;
/** A box narrower than this is no wish but a double click, px. */
const NARROWEST_BOX_PX = 3;
/** A tile counts when an area meets its inside by more than this, as the service counts, degrees. */
const EDGE_DEG = 1e-9;
/** Bright on dark imagery, with a dark edge for bright imagery. */
const AREA_STYLE = [
  new Style({ stroke: new Stroke({ color: "rgba(10,20,24,.75)", width: 5 }) }),
  new Style({
    stroke: new Stroke({ color: "#ffb454", width: 2.5 }),
    fill: new Fill({ color: "rgba(255,180,84,.22)" }),
  }),
];
/** Of an export that is looked at: nothing may tint what its package holds. */
const OUTLINE_STYLE = [
  AREA_STYLE[0] as Style,
  new Style({ stroke: new Stroke({ color: "#ffb454", width: 2.5 }) }),
];
const FOOTPRINT_STYLE = [
  new Style({ stroke: new Stroke({ color: "rgba(10,20,24,.5)", width: 3 }) }),
  new Style({ stroke: new Stroke({ color: "#fff", width: 1.5, lineDash: [6, 5] }) }),
];
const GRID_STYLE = [
  new Style({ stroke: new Stroke({ color: "rgba(10,20,24,.35)", width: 2.5 }) }),
  new Style({ stroke: new Stroke({ color: "rgba(255,255,255,.8)", width: 1 }) }),
];

const nameStyle = (name: string): Style =>
  new Style({
    text: new Text({
      text: name,
      font: "600 12px system-ui, sans-serif",
      fill: new Fill({ color: "#fff" }),
      stroke: new Stroke({ color: "rgba(10,20,24,.8)", width: 3 }),
    }),
  });

export type MapEvents = {
  onShape: (shape: Shape) => void;
  onEdit: (polygons: Polygon[]) => void;
  onPointer: (position: Position | null) => void;
};
export type Inspected = {
  id: string;
  zooms: [coarsest: number, finest: number];
  area: Area | null;
  /** Tiles are still being written: those that are not there yet are no gaps. */
  growing: boolean;
  /** Tiles that the layer does not have. */
  missing: number;
  /** Tiles that were not readable. */
  failed: number;
};

const grid = (finest: number, coarsest = 0): TileGrid =>
  new TileGrid({
    extent: [-180, -90, 180, 90],
    origin: [-180, 90],
    tileSize: 256,
    minZoom: coarsest,
    resolutions: Array.from({ length: finest + 1 }, (_, zoom) => resolution(zoom)),
  });

export class AreaMap {
  private readonly base = new TileLayer<XYZ>();
  private readonly inside = new TileLayer<XYZ>({ visible: false });
  private readonly footprint = new VectorSource();
  private readonly gridLines = new VectorSource();
  private readonly area = new VectorSource();
  private readonly outlines = new VectorSource();
  private readonly areaLayer = new VectorLayer({ source: this.area, style: AREA_STYLE });
  private readonly dragBox = new DragBox({ minArea: 64 });
  private readonly modify = new Modify({ source: this.area });
  private readonly map: OlMap;
  private draw: Draw | null = null;
  private canEdit = false;
  private growing: string | null = null;
  private gridZoom: number | null = null;
  private stepsToGo = 0;
  private shown: Layer | null = null;

  constructor(
    target: HTMLElement,
    private readonly events: MapEvents,
  ) {
    this.map = new OlMap({
      target,
      controls: [new ScaleLine({ units: "metric" })],
      // Drawing takes the double click.
      interactions: interactions({ altShiftDragRotate: false, pinchRotate: false, doubleClickZoom: false }),
      layers: [
        this.base,
        this.inside,
        new VectorLayer({ source: this.gridLines, style: GRID_STYLE }),
        new VectorLayer({ source: this.footprint, style: FOOTPRINT_STYLE }),
        new VectorLayer({ source: this.outlines, style: OUTLINE_STYLE }),
        this.areaLayer,
      ],
      view: new View({
        projection: PROJECTION,
        center: [0, 0],
        zoom: 1.5,
        minZoom: 0,
        multiWorld: true,
        extent: [-540, -90, 540, 90],
        constrainOnlyCenter: true,
      }),
    });
    this.dragBox.setActive(false);
    this.map.addInteraction(this.dragBox);
    this.map.addInteraction(this.modify);
    this.dragBox.on("boxend", () => this.ended("box", this.dragBox.getGeometry().getCoordinates() as Polygon));
    this.modify.on("modifyend", () => this.events.onEdit(this.polygons()));
    this.map.on("moveend", () => {
      this.drawGrid();
      this.zoomOn();
    });
    this.map.on("pointermove", (event) => this.events.onPointer(event.coordinate as Position));
    target.addEventListener("pointerleave", () => this.events.onPointer(null));
    this.map.on("loadend", () => target.setAttribute("data-loaded", "true"));
    this.map.on("loadstart", () => target.removeAttribute("data-loaded"));
    new ResizeObserver(() => this.map.updateSize()).observe(target);
  }

  /** Where a position is on the screen, px from the map's corner; for tests of drawing. */
  pixelOf(position: Position): [number, number] {
    return this.map.getPixelFromCoordinate(position) as [number, number];
  }

  showLayer(layer: Layer | null): void {
    if (layer?.id === this.shown?.id && layer?.productVersion === this.shown?.productVersion) return;
    this.shown = layer;
    this.footprint.clear();
    if (layer === null) return this.base.setSource(null);
    const finest = zoomOf(layer.maxResolutionDeg);
    this.base.setSource(
      new XYZ({
        url: `/layers/${layer.id}/tiles/{z}/{x}/{y}?v=${encodeURIComponent(layer.productVersion)}`,
        projection: PROJECTION,
        tileGrid: grid(finest),
        transition: 150,
      }),
    );
    this.map.getView().setMaxZoom(Math.min(MAX_ZOOM, finest) + 4);
    this.footprint.addFeature(new Feature(footprintOf(layer)));
  }

  showArea(area: Area | null): void {
    this.area.clear();
    if (area !== null) {
      const geometry = this.geometryOf(area);
      if (geometry) this.area.addFeature(new Feature(geometry));
    }
    this.canEdit = area !== null && area.kind !== "whole" && verticesOf(area) <= MAX_VERTICES;
    this.modify.setActive(this.canEdit && this.draw === null);
  }

  use(tool: Tool): void {
    if (this.draw) this.map.removeInteraction(this.draw);
    this.draw = null;
    this.dragBox.setActive(tool === "box");
    this.modify.setActive(tool === null && this.canEdit);
    this.map.getTargetElement().classList.toggle("drawing", tool !== null);
    if (tool === null) return;
    const isBox = tool === "box";
    const draw = new Draw({
      type: isBox ? "Circle" : "Polygon",
      ...(isBox ? { geometryFunction: createBox() } : {}),
      style: AREA_STYLE,
    });
    draw.on("drawend", (event) => {
      const geometry = event.feature.getGeometry() as unknown as { getCoordinates(): Polygon };
      // The interaction is still busy with this event; it may be removed afterwards.
      setTimeout(() => this.ended(tool, geometry.getCoordinates()));
    });
    this.draw = draw;
    this.map.addInteraction(draw);
  }

  /** Show what a package holds, the layer faint below it; null: the layer alone. */
  inspect(inspected: Inspected | null): void {
    this.inside.setVisible(inspected !== null);
    this.areaLayer.setStyle(inspected === null ? AREA_STYLE : OUTLINE_STYLE);
    this.base.setOpacity(inspected === null ? 1 : 0.35);
    this.growing = inspected?.growing ? inspected.id : null;
    if (inspected === null) return this.inside.setSource(null);
    const [coarsest, finest] = inspected.zooms;
    const tiles = grid(finest, coarsest);
    const areas = [inspected.area && this.geometryOf(inspected.area), this.shown && footprintOf(this.shown)];
    const geometries = areas.filter((one) => one !== null);
    const hasGaps = !inspected.growing && inspected.missing + inspected.failed > 0;
    this.inside.setSource(
      new XYZ({
        url: `/exports/${inspected.id}/tiles/{z}/{x}/{y}`,
        projection: PROJECTION,
        tileGrid: tiles,
        transition: 0,
        tileLoadFunction: (tile, address) => void loadOrHatch(tile, address, geometries, hasGaps),
      }),
    );
  }

  /** Look again for tiles of a running export; those that are shown stay until then. */
  grow(step: number): void {
    if (this.growing) this.inside.getSource()?.setUrl(`/exports/${this.growing}/tiles/{z}/{x}/{y}?step=${step}`);
  }

  /** Outline the areas of a list of exports. */
  outline(boxes: Box[]): void {
    this.outlines.clear();
    this.outlines.addFeatures(boxes.map((box) => new Feature(new MultiPolygon([[ringOfBox(box)]]))));
  }

  showGrid(zoom: number | null): void {
    this.gridZoom = zoom;
    this.drawGrid();
  }

  /** Show a box, or the whole layer; at once where nothing was shown yet that one could lose sight of. */
  fit(box: Box | null, atOnce = false): void {
    const size = this.map.getSize();
    if (!size || !size[0] || !size[1]) return;
    const margin = Math.min(60, size[0] / 8, size[1] / 8);
    this.map.getView().fit(box ?? (this.footprint.isEmpty() ? [-180, -90, 180, 90] : this.footprint.getExtent()) as Box, {
      padding: [margin, margin, margin, margin],
      maxZoom: 18,
      duration: atOnce || isCalm() ? 0 : ANIMATION_MS,
    });
  }

  /** What can be seen of the layer. */
  visibleBox(): Box | null {
    const view = this.map.getView().calculateExtent(this.map.getSize());
    const [west, east] = [view[0] as number, view[2] as number];
    if (east - west >= 360) return [-180, Math.max(-90, view[1] as number), 180, Math.min(90, view[3] as number)];
    const seen = getIntersection(view, [-Infinity, -90, Infinity, 90]);
    return isEmpty(seen) ? null : (seen as Box);
  }

  zoomBy(steps: number): void {
    this.stepsToGo += steps;
    this.zoomOn();
  }

  /** Zoom as far as was asked, when nothing moves any more: two quick steps are two. */
  private zoomOn(): void {
    const view = this.map.getView();
    if (this.stepsToGo === 0 || view.getAnimating()) return;
    const zoom = (view.getZoom() ?? 1) + this.stepsToGo;
    this.stepsToGo = 0;
    view.animate({ zoom, duration: isCalm() ? 0 : ANIMATION_MS });
  }

  private ended(tool: Exclude<Tool, null>, polygon: Polygon): void {
    const [west, south, east, north] = new MultiPolygon([polygon]).getExtent() as Box;
    const narrowest = NARROWEST_BOX_PX * (this.map.getView().getResolution() ?? 0);
    if (tool === "box" && Math.min(east - west, north - south) < narrowest) return;
    this.events.onShape({ tool, polygon });
  }

  private polygons(): Polygon[] {
    return this.area
      .getFeatures()
      .flatMap((feature) => (feature.getGeometry() as MultiPolygon).getCoordinates() as Polygon[]);
  }

  private geometryOf(area: Area): Geometry | null {
    if (area.kind === "whole") return this.shown ? footprintOf(this.shown) : null;
    if (area.kind === "box") return new MultiPolygon([[ringOfBox(area.box)]]);
    return new MultiPolygon(verticesOf(area) <= MAX_VERTICES ? area.polygons : thinned(area.polygons));
  }

  private drawGrid(): void {
    this.gridLines.clear();
    const box = this.visibleBox();
    this.map.getTargetElement().removeAttribute("data-tiles");
    if (this.gridZoom === null || box === null) return;
    let zoom = this.gridZoom;
    while (zoom > 0 && (box[2] - box[0]) / tileSize(zoom) > MOST_GRID_LINES) zoom -= 1;
    const size = tileSize(zoom);
    const lines: Position[][] = [];
    for (let lon = Math.ceil((box[0] + 180) / size) * size - 180; lon <= box[2]; lon += size) {
      lines.push([[lon, box[1]], [lon, box[3]]]);
    }
    for (let lat = 90 - Math.floor((90 - box[1]) / size) * size; lat <= box[3]; lat += size) {
      lines.push([[box[0], lat], [box[2], lat]]);
    }
    this.gridLines.addFeature(new Feature(new MultiLineString(lines)));
    this.nameTiles(zoom, box);
  }

  /** Write zoom/column/row on the tiles that can be seen, where they are large enough for it. */
  private nameTiles(zoom: number, box: Box): void {
    const isLarge = tileSize(zoom) / (this.map.getView().getResolution() ?? Infinity) >= NAMED_FROM_PX;
    const centres = isLarge ? centresOfTiles(zoom, box) : [];
    for (const centre of centres) {
      const feature = new Feature(new Point(centre));
      feature.setStyle(nameStyle(tileName(zoom, centre)));
      this.gridLines.addFeature(feature);
    }
    this.map.getTargetElement().setAttribute("data-tiles", centres.map((one) => tileName(zoom, one)).join(" "));
  }
}

const isCalm = (): boolean => matchMedia("(prefers-reduced-motion: reduce)").matches;

export function boxOfLayer(layer: Layer): Box {
  return footprintOf(layer).getExtent() as Box;
}

function footprintOf(layer: Layer): MultiPolygon {
  const { type, coordinates } = layer.footprint;
  return new MultiPolygon((type === "Polygon" ? [coordinates] : coordinates) as Polygon[]);
}

export const boxToFit = (area: Area | null): Box | null => (area === null ? null : boundsOf(area));

/** An area that is refused for its corners is shown with fewer: indexing them all takes seconds. */
function thinned(polygons: Polygon[]): Polygon[] {
  const total = polygons.flat().reduce((sum, ring) => sum + ring.length, 0);
  const step = Math.ceil(total / MOST_SHOWN_VERTICES);
  return polygons.map((polygon) =>
    polygon.map((ring) => ring.filter((_, index) => index % step === 0 || index === ring.length - 1)),
  );
}

/** The middle of each tile that a box touches. */
function centresOfTiles(zoom: number, [west, south, east, north]: Box): Position[] {
  const size = tileSize(zoom);
  const centres: Position[] = [];
  for (let lat = 90 - (Math.floor((90 - north) / size) + 0.5) * size; lat + size / 2 > south; lat -= size) {
    for (let lon = (Math.floor((west + 180) / size) + 0.5) * size - 180; lon - size / 2 < east; lon += size) {
      centres.push([lon, lat]);
    }
  }
  return centres;
}

let hatching: string | undefined;

/** Load a tile; where a whole package lacks one within its area, show hatching. */
async function loadOrHatch(tile: Tile, address: string, areas: Geometry[], hasGaps: boolean): Promise<void> {
  const image = (tile as ImageTile).getImage() as HTMLImageElement;
  if (!areas.every((area) => meets(area, tile.getTileCoord()))) {
    image.src = EMPTY;
    return;
  }
  const answer = await fetch(address).catch(() => null);
  if (answer?.ok) {
    const url = URL.createObjectURL(await answer.blob());
    image.addEventListener("load", () => URL.revokeObjectURL(url), { once: true });
    image.src = url;
    return;
  }
  image.src = answer?.status === 404 && hasGaps ? (hatching ??= hatched()) : EMPTY;
}

/** Whether an area meets the inside of a tile; either may be told in any turn of the globe. */
function meets(area: Geometry, [zoom = 0, column = 0, row = 0]: number[]): boolean {
  const size = tileSize(zoom);
  const columns = 2 ** (zoom + 1);
  const west = (((column % columns) + columns) % columns) * size - 180;
  const north = 90 - row * size;
  return [-360, 0, 360].some((turn) =>
    area.intersectsExtent([
      west + turn + EDGE_DEG,
      north - size + EDGE_DEG,
      west + turn + size - EDGE_DEG,
      north - EDGE_DEG,
    ]),
  );
}

const EMPTY = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";

function hatched(): string {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 256;
  const paint = canvas.getContext("2d") as CanvasRenderingContext2D;
  paint.fillStyle = "rgba(20,30,36,.55)";
  paint.fillRect(0, 0, 256, 256);
  paint.strokeStyle = "rgba(255,180,84,.8)";
  paint.lineWidth = 3;
  for (let from = -256; from < 256; from += 32) {
    paint.beginPath();
    paint.moveTo(from, 256);
    paint.lineTo(from + 256, 0);
    paint.stroke();
  }
  return canvas.toDataURL();
}
