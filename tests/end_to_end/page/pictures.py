"""What is shown on the map, as pixels."""

from io import BytesIO

from PIL import Image, ImageStat

from tests.end_to_end.page.conftest import Person


def seen(person: Person, west: float, south: float, east: float, north: float) -> Image.Image:
    """What is shown of a part of the map."""
    (left, top), (right, bottom) = person.where(west, north), person.where(east, south)
    clip = {"x": left, "y": top, "width": right - left, "height": bottom - top}
    return Image.open(BytesIO(person.page.screenshot(clip=clip))).convert("RGB")


def seen_at_rest(person: Person, *part: float) -> Image.Image:
    """What is shown of a part of the map once it does not change any more."""
    last = seen(person, *part)
    while (now := seen(person, *part)).tobytes() != last.tobytes():
        last = now
    return now


def hatched(person: Person, *part: float) -> float:
    """The share of a part of the map that has the colour of hatching."""
    pixels = seen(person, *part).get_flattened_data()
    return sum(r > 200 and 130 < g < 190 and b < 115 for r, g, b in pixels) / len(pixels)


def brightness(person: Person, *part: float) -> float:
    """The mean of a part of the map, from 0, black, to 255."""
    return ImageStat.Stat(seen(person, *part).convert("L")).mean[0]
