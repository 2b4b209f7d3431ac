"""The COCO classes of the demo network and the emoji that stand for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEMO_CFG = Path("models/demo/yolov3-tiny-emoji.cfg")

# COCO name -> icon names, the same in all five packages; a family without a drawing is skipped.
CLASSES: dict[str, tuple[str, ...]] = {
    "person": (
        "person-walking",
        "person-standing",
        "man-standing",
        "woman-standing",
        "person-running",
    ),
    "bicycle": ("bicycle",),
    "car": ("automobile", "taxi", "sport-utility-vehicle"),
    "motorcycle": ("motorcycle", "motor-scooter"),
    "airplane": ("airplane", "small-airplane"),
    "bus": ("bus", "oncoming-bus"),
    "train": ("locomotive", "high-speed-train", "bullet-train"),
    "boat": ("sailboat", "speedboat", "ship"),
    "traffic light": ("vertical-traffic-light",),
    "stop sign": ("stop-sign",),
    "bird": ("bird", "dove", "duck", "parrot"),
    "cat": ("cat", "cat-face"),
    "dog": ("dog", "dog-face"),
    "horse": ("horse",),
    "sheep": ("ewe", "ram"),
    "cow": ("cow", "ox"),
    "elephant": ("elephant",),
    "zebra": ("zebra",),
    "giraffe": ("giraffe",),
    "umbrella": ("umbrella", "umbrella-with-rain-drops"),
    "banana": ("banana",),
    "apple": ("red-apple", "green-apple"),
    "pizza": ("pizza",),
    "clock": ("alarm-clock", "mantelpiece-clock"),
}
NAMES: tuple[str, ...] = tuple(CLASSES)

# Drawings of no class: the network must not detect them.
DISTRACTORS: tuple[str, ...] = (
    "evergreen-tree",
    "deciduous-tree",
    "palm-tree",
    "cactus",
    "sunflower",
    "tulip",
    "rose",
    "house",
    "office-building",
    "hospital",
    "mountain",
    "cloud",
    "sun",
    "star",
    "red-heart",
    "grapes",
    "strawberry",
    "watermelon",
    "cheese-wedge",
    "hamburger",
    "mushroom",
    "snowman",
    "wrapped-present",
    "key",
    "light-bulb",
    "guitar",
    "trumpet",
    "anchor",
    "fish",
    "spiral-shell",
    "snail",
    "turtle",
    "octopus",
    "frog",
    "crown",
    "hammer",
    "candle",
    "globe-showing-europe-africa",
)


@dataclass(frozen=True)
class Family:
    """One emoji family: an npm package of SVG drawings."""

    name: str
    package: str
    licence: str
    attribution: str


SEEN: tuple[Family, ...] = (
    Family("noto", "@iconify-json/noto", "Apache-2.0", "Noto Emoji, Google"),
    Family("noto-v1", "@iconify-json/noto-v1", "Apache-2.0", "Noto Emoji 1, Google"),
    Family("twemoji", "@iconify-json/twemoji", "CC-BY-4.0", "Twemoji, Twitter and contributors"),
    Family("emojione", "@iconify-json/emojione", "CC-BY-4.0", "Emoji One 2, Ranks.com / EmojiTwo"),
)
UNSEEN: tuple[Family, ...] = (
    Family("fluent-emoji", "@iconify-json/fluent-emoji", "MIT", "Fluent Emoji, Microsoft"),
)
