"""What the ingress knows of tile sizes is what the registrar reserves by, row by row."""

from app.domain.rows import LayerRow, ZoomMean
from app.ingress.layer_memory import LayerMemory

LAYER = "7b4f0a8e-5d1c-4a53-9a6b-0f2f6a1d3c11"


def sizes(layers):
    return layers.mean_bytes(LAYER, [13, 14], 12_500)


def test_a_zoom_that_nothing_is_known_of_has_the_size_that_is_named():
    assert sizes(LayerMemory()) == {13: 12_500, 14: 12_500}


def test_the_newest_row_of_a_layer_counts_and_nothing_when_it_has_gone():
    layers = LayerMemory()
    layers.learn(LAYER, LayerRow((ZoomMean(13, 9_000, 10), ZoomMean(14, 8_000, 40))))
    layers.learn(LAYER, LayerRow((ZoomMean(14, 11_000, 50),)))
    assert sizes(layers) == {13: 12_500, 14: 11_000}
    layers.forget(LAYER)
    layers.forget(LAYER)
    assert sizes(layers) == {13: 12_500, 14: 12_500}
