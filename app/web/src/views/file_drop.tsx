// Dropping a file anywhere on the page.
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { type Area, boundsOf, polygonsArea, polygonsOf } from "../area.ts";
import { setArea } from "../draft.ts";
import { areaOfFile } from "../files.ts";
import { t } from "../language.ts";
import { fitWanted } from "../map_state.ts";
import { announce } from "../notices.ts";
import { go } from "../route.ts";

/** Take an area that was not drawn into the form, and show it. */
export function takeArea(area: Area): void {
  setArea(area);
  fitWanted.value = { box: boundsOf(area) };
}

/** Take the areas of files into the form, together; tells what is wrong with one, and then takes none. */
export async function takeFiles(files: File[]): Promise<void> {
  if (files.length === 0) return;
  const name = files.map((file) => file.name).join(", ");
  announce(t("readingFile", { name }));
  try {
    const areas = await Promise.all(files.map(areaOfFile));
    takeArea(polygonsArea(areas.flatMap(polygonsOf)));
    go("#/new");
    announce(t("fileRead", { name }));
  } catch (error) {
    announce((error as Error).message, true);
  }
}

export function FileDrop() {
  const over = useSignal(false);
  useEffect(() => {
    const enter = (event: DragEvent): void => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      over.value = true;
    };
    const leave = (event: DragEvent): void => {
      if (event.relatedTarget === null) over.value = false;
    };
    const drop = (event: DragEvent): void => {
      over.value = false;
      const files = [...(event.dataTransfer?.files ?? [])];
      if (files.length === 0) return;
      event.preventDefault();
      void takeFiles(files);
    };
    addEventListener("dragover", enter);
    addEventListener("dragleave", leave);
    addEventListener("drop", drop);
    return () => {
      removeEventListener("dragover", enter);
      removeEventListener("dragleave", leave);
      removeEventListener("drop", drop);
    };
  }, []);
  return over.value ? <div class="drop-place">{t("dropHere")}</div> : null;
}
