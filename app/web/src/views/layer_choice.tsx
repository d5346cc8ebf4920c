// Which layer: one card, and a list with a search behind "Change".
import { useSignal } from "@preact/signals";
import { layer, layerId, layerName, layers } from "../draft.ts";
import { resolutionMetres, zoomOf } from "../grid.ts";
import { day, metres, t } from "../language.ts";
import { boxOfLayer } from "../map.ts";
import { fitWanted } from "../map_state.ts";
import type { Layer } from "../service.ts";
import { Dialog } from "./dialog.tsx";

export function LayerChoice() {
  const choosing = useSignal(false);
  const chosen = layer.value;
  const many = (layers.value?.length ?? 0) > 1;
  return (
    <section class="block" aria-labelledby="layer-title">
      <h2 id="layer-title">{t("layer")}</h2>
      <div class="card layer-card">
        {chosen ? <LayerFacts layer={chosen} /> : <p class="hint">{t("loading")}</p>}
        {many && (
          <button type="button" onClick={() => (choosing.value = true)}>
            {t("changeLayer")}
          </button>
        )}
      </div>
      {choosing.value && <LayerList onClose={() => (choosing.value = false)} />}
    </section>
  );
}

function LayerFacts({ layer }: { layer: Layer }) {
  const zoom = zoomOf(layer.maxResolutionDeg);
  const dates = layer.sourceDateStart && layer.sourceDateEnd;
  return (
    <>
      <img class="thumbnail" src={`/layers/${layer.id}/tiles/0/${thumbnailColumn(layer)}/0`} alt="" width="56" height="56" loading="lazy" />
      <div class="facts">
        <strong>
          <bdi>{layerName(layer)}</bdi>
        </strong>
        <span>{t("layerFinest", { metres: metres(resolutionMetres(zoom)) })}</span>
        <span>{t("layerVersion", { version: layer.productVersion })}</span>
        {dates && (
          <span>{t("layerDates", { from: day(layer.sourceDateStart as string), to: day(layer.sourceDateEnd as string) })}</span>
        )}
      </div>
    </>
  );
}

/** The half of the world in which most of the layer lies. */
function thumbnailColumn(layer: Layer): number {
  const [west, , east] = boxOfLayer(layer);
  return west + east >= 0 ? 1 : 0;
}

function LayerList({ onClose }: { onClose: () => void }) {
  const text = useSignal("");
  const wanted = text.value.trim().toLocaleLowerCase();
  const found = (layers.value ?? []).filter((one) => describes(one).includes(wanted));
  const choose = (one: Layer): void => {
    layerId.value = one.id;
    fitWanted.value = { box: boxOfLayer(one) };
    onClose();
  };
  return (
    <Dialog label={t("chooseLayer")} onClose={onClose}>
      <div class="stack">
        <h2>{t("chooseLayer")}</h2>
        <label class="field">
          <span>{t("searchLayer")}</span>
          <input type="search" value={text.value} onInput={(event) => (text.value = event.currentTarget.value)} />
        </label>
        <p class="hint" role="status">
          {found.length ? t("layersFound", { n: found.length }) : t("noLayerFound", { text: text.value })}
        </p>
        <ul class="layers">
          {found.map((one) => (
            <li key={one.id}>
              <button type="button" class="card layer-card" aria-pressed={one.id === layerId.value} onClick={() => choose(one)}>
                <LayerFacts layer={one} />
              </button>
            </li>
          ))}
        </ul>
        <div class="row end">
          <button type="button" onClick={onClose}>
            {t("close")}
          </button>
        </div>
      </div>
    </Dialog>
  );
}

function describes(one: Layer): string {
  const parts = [layerName(one), one.productId, one.description, ...(one.region ?? []), ...(one.sensors ?? [])];
  return parts.join(" ").toLocaleLowerCase();
}
