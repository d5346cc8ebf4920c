// How fine: a slider of zooms, told in degrees, metres and scale.
import { chosenZoom, finestZoom, zoom } from "../draft.ts";
import { resolution, resolutionMetres, scale } from "../grid.ts";
import { apart, metres, number, significant, t } from "../language.ts";

export function Detail() {
  const chosen = chosenZoom.value;
  const facts = detailFacts(chosen);
  return (
    <section class="block" aria-labelledby="detail-title">
      <h2 id="detail-title">{t("detail")}</h2>
      <div class="card">
        <div class="zoom-line">
          <strong>{t("zoom", { zoom: String(chosen) })}</strong>
          <span>{facts.metres}</span>
        </div>
        <input
          type="range"
          min={0}
          max={finestZoom.value}
          step={1}
          value={chosen}
          aria-label={t("finestZoom")}
          aria-valuetext={`${t("zoom", { zoom: String(chosen) })}, ${facts.metres}`}
          onInput={(event) => (zoom.value = Number(event.currentTarget.value))}
        />
        <div class="zoom-line small">
          <span>{t("coarse")}</span>
          <span>{t("fine")}</span>
        </div>
        <p class="hint">
          {facts.degrees} · {facts.scale}
        </p>
        <p class="hint">{t("detailHint")}</p>
      </div>
    </section>
  );
}

export function detailFacts(chosen: number): { metres: string; degrees: string; scale: string } {
  const degrees = significant(resolution(chosen), 6);
  const rounded = Number(scale(chosen).toPrecision(3));
  return {
    metres: `${metres(resolutionMetres(chosen))} ${t("perPixel")}`,
    degrees: apart(`${degrees}°`),
    scale: `${t("scale")} ${apart(`1:${number(rounded)}`)}`,
  };
}
