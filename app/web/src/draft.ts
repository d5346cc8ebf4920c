// The form: what was chosen and typed so far. It outlives reloads and ended sessions.
import { computed, effect, type Signal, signal } from "@preact/signals";
import { type Area, areaOfLink, askedArea } from "./area.ts";
import { MAX_ZOOM, resolution, zoomOf } from "./grid.ts";
import { type Key, t } from "./language.ts";
import { announce } from "./notices.ts";
import type { CreateBody, Layer } from "./service.ts";

const MOST_STEPS = 100;
const LONGEST_LINK = 6000;

export const layers = signal<Layer[] | null>(null);
export const layerId = signal<string | null>(null);
export const area = signal<Area | null>(null);
export const zoom = signal<number | null>(null);
export const description = signal("");
const steps = signal<(Area | null)[]>([]);

export const SIDES = ["north", "west", "east", "south"] as const;
export type Sides = Record<(typeof SIDES)[number], string>;
/** Coordinates as they are being typed; null: those of the area are shown. */
export const typedSides = signal<Sides | null>(null);
export const pastedText = signal("");

export const layer = computed(() => layers.value?.find((one) => one.id === layerId.value) ?? null);
export const finestZoom = computed(() => (layer.value ? zoomOf(layer.value.maxResolutionDeg) : MAX_ZOOM));
export const chosenZoom = computed(() => Math.min(zoom.value ?? finestZoom.value, finestZoom.value));
export const canUndo = computed(() => steps.value.length > 0);

export const layerName = (one: Layer | null | undefined): string => one?.productName ?? one?.productId ?? "";

/** Change the area; `undo` brings the one before back. */
export function setArea(next: Area | null): void {
  typedSides.value = null;
  if (JSON.stringify(next) === JSON.stringify(area.value)) return;
  steps.value = [...steps.value, area.value].slice(-MOST_STEPS);
  area.value = next;
}

export function undo(): void {
  const before = steps.value[steps.value.length - 1];
  if (before === undefined) return;
  typedSides.value = null;
  steps.value = steps.value.slice(0, -1);
  area.value = before;
}

export const body = computed<CreateBody | null>(() => {
  if (layer.value === null || area.value === null) return null;
  const asked = askedArea(area.value);
  const name = description.value.trim();
  return {
    dbId: layer.value.id,
    ...(asked === null ? {} : { bbox: asked }),
    targetResolution: resolution(chosenZoom.value),
    ...(name ? { description: name } : {}),
  };
});

/** A link that opens the form as it is; null: the area has too many corners for one. */
export function linkOfDraft(): string | null {
  const parts = new URLSearchParams();
  if (layerId.value) parts.set("layer", layerId.value);
  if (area.value) {
    const asked = askedArea(area.value);
    parts.set("area", asked === null ? "layer" : Array.isArray(asked) ? asked.join(",") : JSON.stringify(asked));
  }
  parts.set("zoom", String(chosenZoom.value));
  if (description.value.trim()) parts.set("name", description.value.trim());
  const link = `${location.origin}/#/new?${parts}`;
  return link.length > LONGEST_LINK ? null : link;
}

/** Fill the form from the parameters of a link; what cannot be read is told, and stays as it was. */
export function takeLink(parts: URLSearchParams): void {
  layerId.value = parts.get("layer") || layerId.value;
  const [text, wanted] = [parts.get("area"), parts.get("zoom")];
  try {
    if (text !== null) setArea(areaOfLink(text));
  } catch {
    tellUnreadable("area");
  }
  if (wanted !== null) {
    if (/^\d+$/.test(wanted) && Number(wanted) <= MAX_ZOOM) zoom.value = Number(wanted);
    else tellUnreadable("detail");
  }
  description.value = parts.get("name")?.slice(0, 1000) ?? description.value;
}

function tellUnreadable(part: Key): void {
  announce(t("linkUnreadable", { part: t(part) }), true);
}

const CHOSEN = { layerId, area, zoom, description };
const TYPED = { typedSides, pastedText };
type Kept = Record<string, Signal>;

export function restoreDraft(): void {
  restore("draft", CHOSEN);
  restore("typed", TYPED);
}

function restore(name: string, parts: Kept): void {
  try {
    const kept = JSON.parse(sessionStorage.getItem(name) ?? "{}") as Record<string, unknown>;
    for (const [key, part] of Object.entries(parts)) part.value = key in kept ? kept[key] : part.value;
  } catch {
    // What an older page kept is of no use; the form starts empty.
  }
}

/** Apart from each other: a pasted text may be more than the browser keeps. */
export function keepDraft(): void {
  effect(() => keep("draft", CHOSEN));
  effect(() => keep("typed", TYPED));
}

function keep(name: string, parts: Kept): void {
  const kept = JSON.stringify(Object.fromEntries(Object.entries(parts).map(([key, part]) => [key, part.value])));
  try {
    sessionStorage.setItem(name, kept);
  } catch {
    // An area of many thousand corners may be too much as well; the form still has it.
    sessionStorage.removeItem(name);
  }
}
