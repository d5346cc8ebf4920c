// World CRS84 2x1 (OGC WorldCRS84Quad): tile sizes, resolutions, scales.
export const MAX_ZOOM = 22;
export const COARSEST_DEG = 0.703125;
const METRES_PER_DEGREE = 111_319.49079327358;
/** Pixel of a screen as OGC standardises it, m. */
const PIXEL_M = 0.00028;
/** People copy rounded resolutions. */
const TOLERANCE = 1e-5;

export const resolution = (zoom: number): number => COARSEST_DEG / 2 ** zoom;
export const tileSize = (zoom: number): number => 180 / 2 ** zoom;
/** At the equator, m. */
export const resolutionMetres = (zoom: number): number => resolution(zoom) * METRES_PER_DEGREE;
export const scale = (zoom: number): number => resolutionMetres(zoom) / PIXEL_M;

/** zoom/column/row of the tile around a position, which may lie in another turn of the globe. */
export function tileName(zoom: number, [lon, lat]: [number, number]): string {
  const columns = 2 ** (zoom + 1);
  const column = Math.floor((lon + 180) / tileSize(zoom));
  const row = Math.min(columns / 2 - 1, Math.max(0, Math.floor((90 - lat) / tileSize(zoom))));
  return `${zoom}/${((column % columns) + columns) % columns}/${row}`;
}

export function zoomOf(resolutionDeg: number): number {
  const zoom = Math.floor(Math.log2((COARSEST_DEG / resolutionDeg) * (1 + TOLERANCE)));
  return Math.min(MAX_ZOOM, Math.max(0, zoom));
}
