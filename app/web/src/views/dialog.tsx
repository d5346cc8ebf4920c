// A dialog of the browser's own, which keeps the focus inside and closes with Esc.
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

/** A native dialog, open as long as it is shown; then the focus is again where it was. */
export function Dialog(properties: { label: string; onClose: () => void; children: ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const shown = dialog.current;
    shown?.showModal();
    return () => shown?.close();
  }, []);
  return (
    // That it has closed is told later: perhaps to nobody any more.
    <dialog ref={dialog} aria-label={properties.label} onClose={() => dialog.current && properties.onClose()}>
      {properties.children}
    </dialog>
  );
}
