// Areas out of files: GeoJSON is read here, everything else by the service.
import { type Area, AreaProblem, areaOfGeoJson, parseText } from "./area.ts";
import { apart, bytes, t } from "./language.ts";
import { call, Fault, inPlainWords } from "./service.ts";

/** Larger files hold more than an area; the service has a limit of its own. */
const MAX_BYTES = 20_000_000;

/** Read the area of a file.
 *
 * Throws Error with a message in plain words.
 */
export async function areaOfFile(file: File): Promise<Area> {
  if (file.size > MAX_BYTES) {
    throw new Error(t("fileTooLarge", { name: file.name, size: bytes(file.size), limit: bytes(MAX_BYTES) }));
  }
  if (/\.(shp|shx|dbf|prj|cpg)$/i.test(file.name)) throw new Error(t("partOfShapefile", { name: file.name }));
  try {
    if (/\.(geo)?json$/i.test(file.name) || (file.type.includes("json") && !/\.\w+$/.test(file.name))) {
      return parseText(await file.text());
    }
    const name = encodeURIComponent(file.name);
    return areaOfGeoJson(await call<unknown>("POST", `/areas?name=${name}`, file));
  } catch (error) {
    const why = error instanceof Fault ? inPlainWords(error) : whyNoArea(error);
    throw new Error(`${file.name}: ${why}`);
  }
}

export function whyNoArea(error: unknown): string {
  if (error instanceof AreaProblem) return t(error.kind, { reason: apart(error.message) });
  return (error as Error).message;
}
