// The form of a new export, from top to bottom: layer, area, detail, estimate, name.
import { useSignal } from "@preact/signals";
import { MAX_VERTICES, verticesOf } from "../area.ts";
import { asCurl, copyText } from "../copying.ts";
import { area, body, description, layer, layerId, layerName, layers, linkOfDraft } from "../draft.ts";
import { estimate, estimateAgain } from "../estimate.ts";
import { refresh } from "../follow.ts";
import { t } from "../language.ts";
import { announce } from "../notices.ts";
import { go } from "../route.ts";
import { call, Fault, inPlainWords, type Layer, session, type WholeExport } from "../service.ts";
import { AreaChoice } from "./area_choice.tsx";
import { Detail } from "./detail.tsx";
import { AtAGlance, EstimateCard } from "./estimate_card.tsx";
import { Icon } from "./icon.tsx";
import { LayerChoice } from "./layer_choice.tsx";

export function NewExport() {
  const busy = useSignal(false);
  const fault = useSignal("");
  const tooMany = area.value !== null && verticesOf(area.value) > MAX_VERTICES;
  const told = estimate.value;
  const fits = told.state !== "refused" && !(told.state === "known" && !told.estimate.fits);
  const ready = body.value !== null && fits && !tooMany;

  const create = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (!ready || busy.value) return;
    busy.value = true;
    fault.value = "";
    try {
      const answer = await call<{ requestId: string; status: string; isDuplicated?: boolean }>(
        "POST",
        "/create",
        body.value,
      );
      const isOld = answer.status === "Completed" || answer.isDuplicated === true;
      const news = answer.status === "Completed" ? "alreadyThere" : isOld ? "joined" : "created";
      announce(`${t(news)} ${isOld && (await hasOtherName(answer.requestId)) ? t("keepsName") : ""}`.trim());
      void refresh();
      go(`#/exports/${answer.requestId}`);
    } catch (error) {
      fault.value = inPlainWords(error);
      if (error instanceof Fault && error.status === 507) estimateAgain();
    } finally {
      busy.value = false;
    }
  };

  if (layers.value?.length === 0) return <p class="empty">{t("noLayers")}</p>;
  return (
    <form class="form" onSubmit={create} noValidate>
      {layers.value && !layer.value ? <MissingLayer layers={layers.value} /> : <LayerChoice />}
      <AreaChoice />
      {layer.value && <Detail />}
      <EstimateCard />
      <label class="field">
        <span>
          {t("name")} <small>({t("optional")})</small>
        </span>
        <input
          maxLength={1000}
          value={description.value}
          placeholder={t("nameHint")}
          dir="auto"
          onInput={(event) => (description.value = event.currentTarget.value)}
        />
      </label>
      {body.value && <Copies />}
      <div class="submit">
        <p class="fault" role="alert">
          {"why" in told && told.why === fault.value ? "" : fault.value}
        </p>
        <AtAGlance />
        <button class="primary wide" disabled={!ready} aria-disabled={busy.value}>
          {busy.value ? t("creating") : t("create")}
        </button>
      </div>
    </form>
  );
}

/** Whether an export that was there before is called otherwise than the form would have it. */
async function hasOtherName(id: string): Promise<boolean> {
  const wanted = description.value.trim();
  const kept = wanted ? await call<WholeExport>("GET", `/exports/${id}`).catch(() => null) : null;
  return kept !== null && kept.description !== wanted;
}

function MissingLayer({ layers: offered }: { layers: Layer[] }) {
  return (
    <section class="block" aria-labelledby="layer-title">
      <h2 id="layer-title">{t("layer")}</h2>
      <p class="fault" role="alert">
        {t("layerGone")}
      </p>
      <select aria-label={t("chooseLayer")} onChange={(event) => (layerId.value = event.currentTarget.value)}>
        <option />
        {offered.map((one) => (
          <option value={one.id} key={one.id}>
            {layerName(one)}
          </option>
        ))}
      </select>
    </section>
  );
}

function Copies() {
  const share = (): void => {
    const link = linkOfDraft();
    if (link === null) announce(t("linkTooLong"), true);
    else void copyText(link, t("linkCopied"));
  };
  const curl = () => body.value && void copyText(asCurl(body.value, session.value?.authRequired ?? false));
  return (
    <div class="row center copies">
      <button type="button" class="quiet" onClick={share}>
        <Icon name="link" /> {t("shareDraft")}
      </button>
      <button type="button" class="quiet" onClick={curl}>
        {t("copyCurl")}
      </button>
    </div>
  );
}
