// Where in the page: /#/new, /#/exports, /#/exports/ID. Links can be shared.
import { signal } from "@preact/signals";
import { takeLink } from "./draft.ts";
import { t } from "./language.ts";
import { announce } from "./notices.ts";

export type Route = { view: "new" } | { view: "exports" } | { view: "export"; id: string };
export const route = signal<Route>({ view: "new" });

export function readRoute(): void {
  const [path = "", parameters = ""] = location.hash.slice(1).split(/\?(.*)/s);
  const id = /^\/exports\/([0-9a-f-]{36})$/i.exec(path)?.[1];
  if (id) route.value = { view: "export", id };
  else if (path === "/exports") route.value = { view: "exports" };
  else {
    const isKnown = /^\/?(new)?$/.test(path);
    if (!isKnown) announce(t("unknownAddress"), true);
    else if (parameters) takeLink(new URLSearchParams(parameters));
    if (!isKnown || parameters) history.replaceState(null, "", "#/new");
    route.value = { view: "new" };
  }
}

export function go(hash: string): void {
  if (location.hash === hash) return;
  location.hash = hash;
}
