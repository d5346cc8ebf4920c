// What the panel and the map tell each other.
import { signal } from "@preact/signals";
import type { Area, Box, Position } from "./area.ts";
import type { Inspected, Tool } from "./map.ts";

export const tool = signal<Tool>(null);
export const gridShown = signal(false);
export const pointer = signal<Position | null>(null);
/** Asks the map to show a box; null within: the whole layer. A new object each time. */
export const fitWanted = signal<{ box: Box | null } | null>(null);
/** Counts up as a running export that is inspected has written more. */
export const growth = signal(0);
/** Areas of the exports in the list. */
export const outlines = signal<Box[]>([]);
export const inspected = signal<Inspected | null>(null);
/** What the map shows of the export that is looked at, instead of the form's; `zoom` is its finest. */
export const opened = signal<{ layerId: string; area: Area; zoom: number | null } | null>(null);
/** The map's answer to what can be seen; set while a map is there. */
export const visibleBox: { ask: () => Box | null } = { ask: () => null };
