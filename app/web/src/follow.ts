// The list of my exports: pages of it, kept up to date by the feed.
import { computed, effect, signal } from "@preact/signals";
import { follow } from "./feed.ts";
import { t } from "./language.ts";
import { layerName, layers } from "./draft.ts";
import { announce } from "./notices.ts";
import { call, type Export, inPlainWords, renewals, session, type Status } from "./service.ts";

const PAGE = 50;
const GATHERED_MS = 30;
const FILTER_KEPT_AS = "filter";
const LONGEST_TOLD_NAME = 60;
const OPEN: readonly Status[] = ["Pending", "In-Progress"];

export const exports = signal<ReadonlyMap<string, Export>>(new Map());
const kept = (sessionStorage.getItem(FILTER_KEPT_AS) ?? ",").split(",");
export const statusFilter = signal(kept[0] as Status | "");
export const layerFilter = signal(kept[1] ?? "");
effect(() => sessionStorage.setItem(FILTER_KEPT_AS, `${statusFilter.value},${layerFilter.value}`));
export const listState = signal<"loading" | "loaded" | "failed">("loading");
export const listFault = signal("");
const next = signal<string | null>(null);

export const hasMore = computed(() => next.value !== null);
export const isOpen = (one: Export): boolean => OPEN.includes(one.status);
export const listed = computed(() =>
  [...exports.value.values()]
    .filter((one) => !statusFilter.value || one.status === statusFilter.value)
    .filter((one) => !layerFilter.value || one.dbId === layerFilter.value)
    .sort((a, b) => (a.acceptedAt < b.acceptedAt ? 1 : a.acceptedAt > b.acceptedAt ? -1 : 0)),
);
export const openCount = computed(() => [...exports.value.values()].filter(isOpen).length);

export function nameOf(one: Export): string {
  if (one.description) return one.description;
  const layer = layerName(layers.value?.find((other) => other.id === one.dbId)) || t("export");
  return one.zoom === null ? layer : `${layer}, ${t("zoom", { zoom: String(one.zoom) })}`;
}

function query(cursor: string | null): string {
  const parts = new URLSearchParams({ limit: String(PAGE) });
  if (statusFilter.value) parts.set("status", statusFilter.value);
  if (layerFilter.value) parts.set("layer", layerFilter.value);
  if (cursor) parts.set("cursor", cursor);
  return `/exports?${parts}`;
}

/** Ask for the first page; what is already shown of later pages stays. */
export async function refresh(): Promise<void> {
  try {
    const page = await call<{ exports: Export[]; next: string | null }>("GET", query(null));
    put(page.exports);
    if (listState.value !== "loaded" || exports.value.size <= PAGE) next.value = page.next;
    listState.value = "loaded";
  } catch (error) {
    if (listState.value === "loading") listState.value = "failed";
    listFault.value = inPlainWords(error);
  }
}

/** After a change of the filter: other pages than before. */
export function startOver(): void {
  next.value = null;
  listState.value = "loading";
  void refresh();
}

/** Ask for later pages until one shows something new: the feed may have told of all of a page. */
export async function loadMore(): Promise<void> {
  const known = exports.value;
  let isNew = false;
  while (next.value !== null && !isNew) {
    const page = await call<{ exports: Export[]; next: string | null }>("GET", query(next.value));
    put(page.exports);
    next.value = page.next;
    isNew = page.exports.some((one) => !known.has(one.requestId));
  }
}

/** Forget everything: somebody else has signed in. */
export function forgetExports(): void {
  exports.value = new Map();
  startOver();
}

export function put(news: Export[]): void {
  if (news.length === 0) return;
  const known = new Map(exports.value);
  for (const one of news) {
    const before = known.get(one.requestId);
    // An end stands: news of a running export that come after it were sent before it.
    if (before && !isOpen(before) && isOpen(one)) continue;
    known.set(one.requestId, { ...before, ...one });
    if (before && isOpen(before) && !isOpen(one)) tellEnd(one);
  }
  exports.value = known;
}

function briefly(name: string): string {
  const letters = [...name];
  return letters.length > LONGEST_TOLD_NAME ? `${letters.slice(0, LONGEST_TOLD_NAME).join("")}…` : name;
}

function tellEnd(one: Export): void {
  if (one.status !== "Completed" && one.status !== "Failed" && one.status !== "Aborted") return;
  const text = t(`ended_${one.status}`, { name: briefly(nameOf(one)) });
  announce(text);
  if (wantsNotices.value && document.visibilityState !== "visible") {
    // One tag an export: of several tabs one notification is left.
    new Notification(text, { tag: one.requestId, lang: document.documentElement.lang });
  }
}

const NOTICES_KEPT_AS = "notices";
export const noticesPossible = "Notification" in window && window.isSecureContext;
export const noticesBlocked = signal(noticesPossible && Notification.permission === "denied");
export const wantsNotices = signal(
  noticesPossible && Notification.permission === "granted" && localStorage.getItem(NOTICES_KEPT_AS) === "yes",
);

export async function toggleNotices(): Promise<void> {
  if (wantsNotices.value) {
    wantsNotices.value = false;
    localStorage.removeItem(NOTICES_KEPT_AS);
    return;
  }
  const granted = (await Notification.requestPermission()) === "granted";
  noticesBlocked.value = Notification.permission === "denied";
  wantsNotices.value = granted;
  if (granted) localStorage.setItem(NOTICES_KEPT_AS, "yes");
}

export function keepFollowing(): void {
  // The stream carries bursts: one drawing for each is enough. No frames are drawn, nor waited
  // for, while nobody looks; but that is when a notification is wanted.
  let waiting: Export[] = [];
  follow(
    (news) => {
      waiting.push(news);
      if (waiting.length === 1) {
        setTimeout(() => {
          put(waiting);
          waiting = [];
        }, GATHERED_MS);
      }
    },
    () => {
      // Who is not signed in is not asked to again and again.
      if (session.peek()?.client !== null) void refresh();
    },
  );
  renewals.subscribe(() => void refresh());
}
