// The area of an export: what was drawn or read, and what the service is told of it.
//
// Longitudes may lie beyond 180 while an area is drawn across the antimeridian: 190 is 170 west.
import { parseCoordinate } from "./coordinates.ts";

export type Position = [number, number];
export type Ring = Position[];
export type Polygon = Ring[];
export type Box = [west: number, south: number, east: number, north: number];
export type Area =
  | { kind: "whole" }
  | { kind: "box"; box: Box }
  | { kind: "polygons"; polygons: Polygon[] };
export type AskedArea =
  | Box
  | { type: "Polygon"; coordinates: Polygon }
  | { type: "MultiPolygon"; coordinates: Polygon[] }
  // Not made here, but others ask for several zooms at once.
  | { type: "FeatureCollection"; features: unknown[] }
  | null;

/** The service's limit on the corners of all rings together. */
export const MAX_VERTICES = 20_000;
const DECIMALS = 7;

export class AreaProblem extends Error {
  constructor(
    readonly kind: "noGeoJson" | "noPolygon" | "notOnGlobe" | "southAboveNorth" | "westIsEast",
    message = "",
  ) {
    super(message);
  }
}

const rounded = (value: number): number => Number(value.toFixed(DECIMALS));
const wrapped = (lon: number): number => rounded(((((lon + 180) % 360) + 360) % 360) - 180);

/** A box with its west side on the globe; east > 180 says that it crosses the antimeridian. */
export function boxArea(west: number, south: number, east: number, north: number): Area {
  const [low, high] = [Math.max(-90, south), Math.min(90, north)].map(rounded) as [number, number];
  if (east - west >= 360) return { kind: "box", box: [-180, low, 180, high] };
  const start = wrapped(west);
  return { kind: "box", box: [start, low, rounded(start + (east - west)), high] };
}

export function polygonsArea(polygons: Polygon[]): Area {
  const only = polygons.length === 1 && polygons[0]?.length === 1 ? polygons[0][0] : undefined;
  const box = only && boxOfRing(only);
  if (box) return boxArea(...box);
  return {
    kind: "polygons",
    polygons: polygons.map((polygon) =>
      polygon.map((ring) => ring.map(([lon, lat]): Position => [rounded(lon), rounded(lat)])),
    ),
  };
}

function boxOfRing(ring: Ring): Box | null {
  if (ring.length !== 5) return null;
  const [west, south, east, north] = boundsOfRings([ring]);
  const onCorner = ([lon, lat]: Position) =>
    (lon === west || lon === east) && (lat === south || lat === north);
  const turns = ring.slice(1).every((corner, index) => {
    const before = ring[index] as Position;
    return (corner[0] === before[0]) !== (corner[1] === before[1]);
  });
  return ring.every(onCorner) && turns ? [west, south, east, north] : null;
}

function boundsOfRings(rings: Ring[]): Box {
  const box: Box = [Infinity, Infinity, -Infinity, -Infinity];
  for (const ring of rings) {
    for (const [lon, lat] of ring) {
      box[0] = Math.min(box[0], lon);
      box[1] = Math.min(box[1], lat);
      box[2] = Math.max(box[2], lon);
      box[3] = Math.max(box[3], lat);
    }
  }
  return box;
}

export function boundsOf(area: Area): Box | null {
  if (area.kind === "whole") return null;
  return area.kind === "box" ? area.box : boundsOfRings(area.polygons.flat());
}

export function verticesOf(area: Area): number {
  if (area.kind !== "polygons") return area.kind === "box" ? 4 : 0;
  return area.polygons.flat().reduce((sum, ring) => sum + ring.length - 1, 0);
}

export function holesOf(area: Area): number {
  if (area.kind !== "polygons") return 0;
  return area.polygons.reduce((sum, polygon) => sum + polygon.length - 1, 0);
}

export const crosses = (area: Area): boolean => {
  const bounds = boundsOf(area);
  return bounds !== null && (bounds[2] > 180 || bounds[0] < -180);
};

/** Square kilometres on the sphere, by the area under each edge. */
export function squareKilometres(area: Area): number {
  return polygonsOf(area).reduce(
    (total, [outer, ...holes]) =>
      total + Math.abs(ringArea(outer ?? [])) - holes.reduce((cut, ring) => cut + Math.abs(ringArea(ring)), 0),
    0,
  );
}

export function polygonsOf(area: Area): Polygon[] {
  if (area.kind === "whole") return [];
  return area.kind === "box" ? [[ringOfBox(area.box)]] : area.polygons;
}

function ringArea(ring: Ring): number {
  const radius = 6371.0088;
  const radians = Math.PI / 180;
  let sum = 0;
  for (let index = 1; index < ring.length; index += 1) {
    const [lon1, lat1] = ring[index - 1] as Position;
    const [lon2, lat2] = ring[index] as Position;
    sum += (lon2 - lon1) * radians * (Math.sin(lat1 * radians) + Math.sin(lat2 * radians));
  }
  return (sum * radius * radius) / 2;
}

export function ringOfBox([west, south, east, north]: Box): Ring {
  return [
    [west, south],
    [east, south],
    [east, north],
    [west, north],
    [west, south],
  ];
}

/** What `bbox` of a request says; areas beyond 180 are cut there and brought back. */
export function askedArea(area: Area): AskedArea {
  if (area.kind === "whole") return null;
  if (area.kind === "box") {
    const [west, south, east, north] = area.box;
    return [west, south, east > 180 ? rounded(east - 360) : east, north];
  }
  const parts = crosses(area) ? area.polygons.flatMap(cutAtAntimeridian) : area.polygons;
  const [first, ...others] = parts;
  if (first && others.length === 0) return { type: "Polygon", coordinates: first };
  return { type: "MultiPolygon", coordinates: parts };
}

function cutAtAntimeridian(polygon: Polygon): Polygon[] {
  return [-360, 0, 360].flatMap((shift) =>
    beyond(polygon, -180 + shift, 1)
      .flatMap((part) => beyond(part, 180 + shift, -1))
      .map((part) => part.map((ring) => ring.map(([lon, lat]): Position => [rounded(lon - shift), rounded(lat)]))),
  );
}

/** The parts of a polygon east (side 1) or west (side -1) of a meridian; a bay or a hole may part it. */
function beyond(polygon: Polygon, limit: number, side: 1 | -1): Polygon[] {
  const chains: Ring[] = [];
  const whole: Ring[] = [];
  polygon.forEach((ring, index) => {
    const leftward = turned(ring, index);
    const found = chainsBeyond(leftward, limit, side);
    if (found) chains.push(...found);
    else if (ring.every(([lon]) => side * (lon - limit) > 0)) whole.push(leftward);
  });
  const rings = [...whole, ...joined(chains).flatMap(loops)];
  return assembled(rings);
}

/** A ring of a polygon so that inside is on the left of every edge: of the outer ring, and of holes. */
const turned = (ring: Ring, index: number): Ring =>
  ringArea(ring) < 0 === (index === 0) ? ring : [...ring].reverse();

/** Polygons of rings that have what is inside on their left. */
function assembled(rings: Ring[]): Polygon[] {
  const outers = rings.filter((ring) => ringArea(ring) < 0);
  const holes = rings.filter((ring) => ringArea(ring) > 0);
  return outers.map((outer) => [
    outer,
    ...holes.filter((hole) => outers.length === 1 || hole.some((corner) => isWithin(corner, outer))),
  ]);
}

/** Pieces of a ring beyond a meridian, each from and to a point on it; null: it does not cross it. */
function chainsBeyond(ring: Ring, limit: number, side: 1 | -1): Ring[] | null {
  const inside = ([lon]: Position) => side * (lon - limit) > 0;
  const first = ring.findIndex((corner, index) => index > 0 && inside(corner) && !inside(ring[index - 1] as Position));
  if (first < 0) return null;
  const corners = [...ring.slice(first - 1, -1), ...ring.slice(0, first)];
  const chains: Ring[] = [];
  corners.slice(1).forEach((corner, index) => {
    const before = corners[index] as Position;
    if (inside(corner) !== inside(before)) {
      const share = (limit - before[0]) / (corner[0] - before[0]);
      const crossing: Position = [limit, before[1] + share * (corner[1] - before[1])];
      if (inside(corner)) chains.push([crossing]);
      else chains[chains.length - 1]?.push(crossing);
    }
    if (inside(corner)) chains[chains.length - 1]?.push(corner);
  });
  return chains;
}

/** Close chains along their meridian: the n-th end from the south leads to the n-th beginning. */
function joined(chains: Ring[]): Ring[] {
  const latitude = (point: Position | undefined) => (point as Position)[1];
  const begins = [...chains].sort((a, b) => latitude(a[0]) - latitude(b[0]));
  const ends = [...chains].sort((a, b) => latitude(a[a.length - 1]) - latitude(b[b.length - 1]));
  const left = new Set(chains);
  const rings: Ring[] = [];
  for (const start of chains) {
    const ring: Ring = [];
    for (let chain = start; left.delete(chain); chain = begins[ends.indexOf(chain)] as Ring) ring.push(...chain);
    if (ring.length > 0) rings.push(ring);
  }
  return rings;
}

/** A ring that comes to a point again is several; it is given without its last point, the first. */
function loops(ring: Ring): Ring[] {
  const found: Ring[] = [];
  const path: Ring = [];
  const placeOf = new Map<string, number>();
  for (const corner of [...ring, ring[0] as Position]) {
    const seen = placeOf.get(String(corner));
    if (seen !== undefined) {
      const loop = path.splice(seen);
      for (const one of loop) placeOf.delete(String(one));
      if (loop.length > 2) found.push(closed(loop));
    }
    placeOf.set(String(corner), path.length);
    path.push(corner);
  }
  return found;
}

/** By the number of edges that a ray to the east meets. */
export function isWithin([lon, lat]: Position, ring: Ring): boolean {
  let within = false;
  for (let index = 1; index < ring.length; index += 1) {
    const [lon1, lat1] = ring[index - 1] as Position;
    const [lon2, lat2] = ring[index] as Position;
    if (lat1 > lat !== lat2 > lat && lon < lon1 + ((lat - lat1) / (lat2 - lat1)) * (lon2 - lon1)) within = !within;
  }
  return within;
}

/** The area of a request as it was asked, for the map and for a form that repeats it. */
export function areaOfAsked(asked: AskedArea): Area {
  if (asked === null) return { kind: "whole" };
  if (Array.isArray(asked)) {
    const [west, south, east, north] = asked;
    return boxArea(west, south, west > east ? east + 360 : east, north);
  }
  return polygonsArea(joinedAtAntimeridian(polygonsIn(asked)));
}

/** Put together again what `askedArea` has cut: polygons east and west of 180 that share edges on it. */
function joinedAtAntimeridian(polygons: Polygon[]): Polygon[] {
  const moved = new Map<Polygon, Polygon>();
  for (const polygon of polygons) {
    const [west, , east] = boundsOfRings(polygon);
    if (east === 180 && west > -180) moved.set(polygon, polygon);
    else if (west === -180 && east < 180) {
      moved.set(polygon, polygon.map((ring) => ring.map(([lon, lat]): Position => [lon + 360, lat])));
    }
  }
  const placed = (polygon: Polygon): Polygon => moved.get(polygon) ?? polygon;
  const groups: Polygon[][] = [];
  for (const polygon of moved.keys()) {
    const touches = (group: Polygon[]) => group.some((other) => meet(placed(polygon), placed(other)));
    const [ours, others] = [groups.filter(touches), groups.filter((group) => !touches(group))];
    groups.splice(0, groups.length, ...others, [...ours.flat(), polygon]);
  }
  return [
    ...polygons.filter((polygon) => !moved.has(polygon)),
    ...groups.flatMap((group) => (group.length > 1 && withoutSeam(group.map(placed))) || group),
  ];
}

type Edge = [from: Position, to: Position];
const edgesOf = (ring: Ring): Edge[] => ring.slice(1).map((corner, index) => [ring[index] as Position, corner]);
const isSeam = ([from, to]: Edge): boolean => from[0] === 180 && to[0] === 180;
const seams = (polygon: Polygon): Edge[] => polygon.flatMap((ring, index) => edgesOf(turned(ring, index)).filter(isSeam));

/** Whether two polygons lie on either side of a piece of the meridian: their edges there run against each other. */
function meet(one: Polygon, other: Polygon): boolean {
  return seams(one).some(([from, to]) =>
    seams(other).some(
      ([start, end]) =>
        Math.sign(to[1] - from[1]) === Math.sign(start[1] - end[1]) &&
        Math.max(Math.min(from[1], to[1]), Math.min(start[1], end[1])) <
          Math.min(Math.max(from[1], to[1]), Math.max(start[1], end[1])),
    ),
  );
}

/** One area of polygons that meet on the meridian: edges on it that run both ways are none.
 *
 * null: they lie over each other as well.
 */
function withoutSeam(polygons: Polygon[]): Polygon[] | null {
  const edges = polygons.flatMap((polygon) => polygon.flatMap((ring, index) => edgesOf(turned(ring, index))));
  const stops = [...new Set(edges.filter(isSeam).flatMap((edge) => edge.map(([, lat]) => lat)))].sort((a, b) => a - b);
  const pieces = edges.flatMap((edge): Edge[] => {
    if (!isSeam(edge)) return [edge];
    const [from, to] = [edge[0][1], edge[1][1]];
    const between = stops.filter((lat) => lat >= Math.min(from, to) && lat <= Math.max(from, to));
    return edgesOf((from < to ? between : between.reverse()).map((lat): Position => [180, lat]));
  });
  const unpaired = new Map<string, Edge>();
  for (const [from, to] of pieces) if (!unpaired.delete(`${to};${from}`)) unpaired.set(`${from};${to}`, [from, to]);
  const onward = new Map<string, Position[]>();
  for (const [from, to] of unpaired.values()) onward.set(String(from), [...(onward.get(String(from)) ?? []), to]);
  const rings: Ring[] = [];
  for (const [from] of unpaired.values()) {
    const ring: Ring = [];
    for (let at: Position | undefined = from; at; at = onward.get(String(at))?.pop()) ring.push(at);
    if (String(ring.at(-1)) !== String(from)) return null;
    if (ring.length > 1) rings.push(...loops(ring.slice(0, -1)));
  }
  return assembled(rings.map(withoutCrossings));
}

/** A ring without the corners on the meridian that only cutting has made. */
function withoutCrossings(ring: Ring): Ring {
  const corners = ring.slice(1);
  const kept = corners.filter(([lon, lat], index) => {
    const [before, after] = [corners.at(index - 1) as Position, corners[(index + 1) % corners.length] as Position];
    if (lon !== 180 || (before[0] - 180) * (after[0] - 180) >= 0) return true;
    const straight = before[1] + ((180 - before[0]) / (after[0] - before[0])) * (after[1] - before[1]);
    return Math.abs(straight - lat) > 2 * 10 ** -DECIMALS;
  });
  return closed(kept);
}

/** Read pasted text: GeoJSON, a box, or lines of longitude and latitude.
 *
 * Throws AreaProblem when there is no area in it.
 */
export function parseText(text: string): Area {
  if (/^\s*[{[]/.test(text)) return areaOfGeoJson(parseJson(text));
  const lines = text.split("\n").filter((line) => line.trim());
  const ring = lines.map(positionOfLine);
  if (ring.length < 3) throw new AreaProblem("noPolygon");
  return polygonsArea([unwound([closed(ring)])]);
}

/** Read the area of a link: what `askedArea` gave, or four numbers. */
export function areaOfLink(text: string): Area {
  if (text === "layer") return { kind: "whole" };
  const value = parseJson(text.startsWith("{") ? text : `[${text}]`);
  return Array.isArray(value) ? areaOfBox(value) : areaOfAsked(value as AskedArea);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new AreaProblem("noGeoJson", (error as Error).message);
  }
}

/** Between numbers stand semicolons, commas or spaces; with one of the first, commas may be decimal. */
const BETWEEN = [/;/, /,\s+/, /\s+/, /,/];

function positionOfLine(line: string, index: number): Position {
  for (const between of BETWEEN) {
    const parts = line.trim().split(between);
    const [first, second] = parts.map(parseCoordinate);
    if (parts.length !== 2 || !first || !second || (first.axis && first.axis === second.axis)) continue;
    const swapped = first.axis === "latitude" || second.axis === "longitude";
    return positionOf(swapped ? [second.value, first.value] : [first.value, second.value]);
  }
  throw new AreaProblem("noGeoJson", `${index + 1}: ${line.trim().slice(0, 40)}`);
}

function closed(ring: Ring): Ring {
  const [first, last] = [ring[0] as Position, ring[ring.length - 1] as Position];
  return first[0] === last[0] && first[1] === last[1] ? ring : [...ring, first];
}

/** All polygons of any GeoJSON, however deep, or a box.
 *
 * Edges of more than 180 degrees are taken to go the short way, as files of desktop GIS mean them.
 */
export function areaOfGeoJson(value: unknown): Area {
  if (Array.isArray(value)) return areaOfBox(value);
  return polygonsArea(joinedAtAntimeridian(polygonsIn(value).map(unwound)));
}

function polygonsIn(value: unknown): Polygon[] {
  const polygons: Polygon[] = [];
  collect(value, polygons);
  if (polygons.length === 0) throw new AreaProblem("noPolygon");
  return polygons;
}

/** West, south, east and north: with west greater than east, over the 180th meridian. */
export function areaOfBox(value: unknown[]): Area {
  if (value.length !== 4) throw new AreaProblem("noGeoJson", told(value));
  const [[west, south], [east, north]] = [positionOf(value.slice(0, 2)), positionOf(value.slice(2))];
  if (south >= north) throw new AreaProblem("southAboveNorth");
  if (west === east || west - east === 360) throw new AreaProblem("westIsEast");
  return areaOfAsked([west, south, east, north]);
}

/** A polygon whose outline jumps over 180 degrees, drawn in one piece: RFC 7946, 3.1.9, would have it cut there. */
function unwound(polygon: Polygon): Polygon {
  const [outer, ...holes] = polygon.map(unwoundRing);
  const widths = edgesOf(polygon[0] ?? []).map(([from, to]) => Math.abs(to[0] - from[0]));
  // An edge around the whole globe is one of a map of it; a ring that does not close goes around a pole.
  if (!outer || !widths.some((width) => width > 180) || widths.some((width) => width >= 360)) return polygon;
  if (outer[0]?.[0] !== outer.at(-1)?.[0]) return polygon;
  const west = boundsOfRings([outer])[0];
  return [outer, ...holes].map((ring, index) => {
    const least = index === 0 ? -180 : west + shiftTo(-180, west);
    const shift = shiftTo(least, boundsOfRings([ring])[0]);
    return ring.map(([lon, lat]): Position => [lon + shift, lat]);
  });
}

/** How many whole turns, in degrees, bring a longitude to the first place that is not west of another. */
const shiftTo = (least: number, lon: number): number => Math.ceil((least - lon) / 360) * 360;

function unwoundRing(ring: Ring): Ring {
  let turns = 0;
  return ring.map(([lon, lat], index): Position => {
    const step = lon - (ring[index - 1]?.[0] ?? lon);
    if (Math.abs(step) > 180) turns -= 360 * Math.sign(step);
    return [lon + turns, lat];
  });
}

function collect(value: unknown, polygons: Polygon[]): void {
  if (typeof value !== "object" || value === null) {
    throw new AreaProblem("noGeoJson", String(value).slice(0, 40));
  }
  const node = value as Record<string, unknown>;
  if (node["type"] === "FeatureCollection") each(node["features"], polygons);
  else if (node["type"] === "GeometryCollection") each(node["geometries"], polygons);
  else if (node["type"] === "Feature") node["geometry"] && collect(node["geometry"], polygons);
  else if (node["type"] === "Polygon") polygons.push(polygonOf(node["coordinates"]));
  else if (node["type"] === "MultiPolygon") {
    const parts = node["coordinates"];
    if (!Array.isArray(parts)) throw new AreaProblem("noGeoJson", "coordinates");
    for (const part of parts) polygons.push(polygonOf(part));
  } else if (!/^(Multi)?(Point|LineString)$/.test(String(node["type"]))) {
    throw new AreaProblem("noGeoJson", `type: ${String(node["type"]).slice(0, 40)}`);
  }
}

function each(members: unknown, polygons: Polygon[]): void {
  if (!Array.isArray(members)) throw new AreaProblem("noGeoJson", "features");
  for (const member of members) collect(member, polygons);
}

function polygonOf(value: unknown): Polygon {
  const rings = Array.isArray(value) ? value : [];
  const polygon = rings.map((ring) => (Array.isArray(ring) ? closed(ring.map(positionOf)) : []));
  if (!polygon[0] || polygon.some((ring) => ring.length < 4)) {
    throw new AreaProblem("noGeoJson", "coordinates");
  }
  return polygon;
}

function positionOf(value: unknown): Position {
  const [lon, lat] = Array.isArray(value) ? value : [];
  if (!Number.isFinite(lon) || !Number.isFinite(lat)) throw new AreaProblem("noGeoJson", told(value));
  if (Math.abs(lat) > 90 || Math.abs(lon) > 540) throw new AreaProblem("notOnGlobe", `${lon}, ${lat}`);
  return [lon, lat];
}

const told = (value: unknown): string => JSON.stringify(value)?.slice(0, 40) ?? "coordinates";
