"""Areas over the 180th meridian: what the page sends of them, in parts that stay on the globe."""

import random
import subprocess
from collections.abc import Callable
from math import cos, pi, sin
from pathlib import Path
from typing import Any

import orjson
import pytest
from playwright.sync_api import expect
from shapely import MultiPolygon, Polygon, box, union_all
from shapely.affinity import translate
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from app.demo import DEMO_LAYER_ID

WEB = Path(__file__).resolve().parents[3] / "app" / "web"
COMB = [[160, -20], [200, -20], [200, -10], [170, -10], [170, 0], [200, 0], [200, 10],
        [170, 10], [170, 20], [200, 20], [200, 30], [160, 30]]  # fmt: skip
"""A comb whose three teeth lie over the meridian: two parts east of it would be one too few."""
HOLE_OVER_IT = [[[160, -20], [200, -20], [200, 20], [160, 20]],
                [[170, -10], [190, -10], [190, 10], [170, 10]]]  # fmt: skip
HOLES_BESIDE_IT = [[[160, -20], [200, -20], [200, 20], [160, 20]],
                   [[165, -10], [175, -10], [175, 10], [165, 10]],
                   [[185, -10], [195, -10], [195, 10], [185, 10]]]  # fmt: skip
CORNER_ON_IT = [[[150, 0], [180, 10], [150, 20]]]
EDGE_ON_IT = [[[180, 0], [200, 0], [200, 20], [180, 20]]]
HOLE_TOUCHES_IT = [[[160, -20], [200, -20], [200, 20], [160, 20]],
                   [[170, -10], [180, 0], [170, 10]]]  # fmt: skip
WEST_OF_IT = [[[-200, 0], [-170, 0], [-190, 10], [-170, 20], [-200, 20]]]


@pytest.fixture(scope="module")
def cut(chromium) -> Callable[[list[Any]], list[Any]]:
    """The page's own function, in the browser: from polygons to what requests say of them."""
    (esbuild,) = (WEB / "node_modules/@esbuild").glob("*/bin/esbuild")
    bundled = subprocess.run(
        [esbuild, "src/area.ts", "--bundle", "--format=iife", "--global-name=area"],
        cwd=WEB,
        check=True,
        capture_output=True,
        text=True,
    )
    page = chromium.new_page()
    page.evaluate(f"{bundled.stdout}; window.area = area")
    return lambda many: page.evaluate(
        "many => many.map(polygons => area.askedArea({kind: 'polygons', polygons}))", many
    )


def closed(polygon: list[Any]) -> list[Any]:
    return [[*ring, ring[0]] for ring in polygon]


def on_the_globe(polygons: list[Any]) -> BaseGeometry:
    """The same area cut by shapely and brought back to 180 degrees either way."""
    whole = union_all([Polygon(outer, holes) for outer, *holes in polygons])
    worlds = [(box(-180 + shift, -90, 180 + shift, 90), shift) for shift in (-360, 0, 360)]
    return union_all([translate(whole.intersection(world), -shift) for world, shift in worlds])


def star(chance: random.Random) -> list[Any]:
    """A polygon with bays, and with a hole now and then, somewhere over or beside 180 degrees."""
    middle, corners = chance.uniform(150, 210) * chance.choice((1, -1)), chance.randrange(4, 40)
    turn = [2 * pi * n / corners for n in range(corners)]
    outer = [(chance.uniform(8, 40), angle) for angle in turn]
    rings = [outer]
    if chance.random() < 0.5:
        rings.append([(chance.uniform(1, 6), -angle) for angle in turn])
    return [
        [[round(middle + far * cos(at), 3), round(far * sin(at), 3)] for far, at in ring]
        for ring in rings
    ]


def test_what_is_sent_of_an_area_over_180_degrees_is_valid_and_covers_the_same(cut):
    chance = random.Random(180)
    drawn = [[COMB], HOLE_OVER_IT, HOLES_BESIDE_IT, CORNER_ON_IT, EDGE_ON_IT, HOLE_TOUCHES_IT]
    drawn += [WEST_OF_IT, *(star(chance) for _ in range(300))]
    drawn += [[ring[::-1] for ring in polygon] for polygon in drawn]
    areas = [[closed(polygon)] for polygon in drawn if Polygon(polygon[0], polygon[1:]).is_valid]
    assert len(areas) > 500
    for polygons, told in zip(areas, cut(areas), strict=True):
        sent = shape(told)
        assert sent.is_valid, (polygons, told)
        assert max(map(abs, sent.bounds)) <= 180
        wrong = sent.symmetric_difference(on_the_globe(polygons)).area
        assert wrong < 1e-4, (polygons, told)


def test_a_comb_over_180_degrees_has_a_part_for_each_tooth(cut):
    (told,) = cut([[closed([COMB])]])
    assert isinstance(shape(told), MultiPolygon)
    assert [len(shape(told).geoms), len(told["coordinates"])] == [4, 4]


def test_a_bay_over_180_degrees_is_pasted_estimated_and_exported_without_the_bay(person, url):
    text = orjson.dumps({"type": "Polygon", "coordinates": closed([COMB])}).decode()
    page = person.page
    with page.expect_request("**/estimate"):
        person.pastes(text)
    expect(person.area).to_contain_text("crosses the 180° meridian")
    person.chooses_zoom(5)
    person.sees_the_cost(zoom=5)
    east, west = box(-180, -90, 180, 90), box(180, -90, 540, 90)
    whole = Polygon(COMB)
    parts = [whole.intersection(east), *translate(whole.intersection(west), -360).geoms]
    body = {
        "dbId": DEMO_LAYER_ID,
        "bbox": MultiPolygon(parts).__geo_interface__,
        "targetResolution": 0.703125 / 2**5,
    }
    foretold = page.request.post(f"{url}/estimate", data=body).json()["tiles"]
    assert page.locator(".figures dd").first.inner_text() == str(foretold)
    person.creates("A comb")
    person.sees_ready()
    expect(page.locator(".facts-list")).to_contain_text(f"{foretold} / {foretold}")
