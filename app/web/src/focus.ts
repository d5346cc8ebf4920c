// Where the focus goes when what had it is gone: who works by keys does not start from the top again.
const TAKES_FOCUS = ":is(a[href], button, input, select, textarea, summary, [tabindex]):not(:disabled)";

const panel = (): HTMLElement | null => document.getElementById("panel");

/** After a change of view: the link to the export that was left, else the title, else the panel. */
export function focusOnView(left?: string): void {
  const link = panel()?.querySelector<HTMLElement>(`.exports a[href="#/exports/${left}"]`);
  if (link) return link.focus();
  (panel()?.querySelector<HTMLElement>(".title") ?? panel())?.focus({ preventScroll: true });
}

/** The title of a view has come; it takes the focus if that waits in the panel. */
export function focusOnTitle(): void {
  if (document.activeElement === panel()) focusOnView();
}

/** Whenever the element with the focus is removed, what is left before or around it gets the focus. */
export function keepFocus(root: HTMLElement): void {
  let places: { parent: Element; before: Element | null }[] = [];
  root.addEventListener("focusin", ({ target }) => {
    places = [];
    for (let one = target as Element; one !== root && one.parentElement; one = one.parentElement) {
      places.push({ parent: one.parentElement, before: one.previousElementSibling });
    }
  });
  // Who clicks beside everything has no place any more.
  root.addEventListener("pointerdown", ({ target }) => {
    if (!(target as Element).closest(TAKES_FOCUS)) places = [];
  });
  new MutationObserver(() => {
    for (const { parent, before } of places) {
      if (document.activeElement !== document.body) return;
      if (parent.isConnected) (lastIn(before) ?? parent.querySelector<HTMLElement>(TAKES_FOCUS))?.focus();
    }
  }).observe(root, { childList: true, subtree: true });
}

function lastIn(element: Element | null): HTMLElement | undefined {
  if (!element?.isConnected) return undefined;
  return [element, ...element.querySelectorAll(TAKES_FOCUS)].filter((one) => one.matches(TAKES_FOCUS)).pop() as
    | HTMLElement
    | undefined;
}
