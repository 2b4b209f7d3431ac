"""The zoo: Darknet's published networks as a table, pulled by name into the user's cache."""

from elastic_yolo.provision.zoo.cache import cached_folder, models_folder, pull
from elastic_yolo.provision.zoo.table import (
    UnknownZooModel,
    ZooFile,
    ZooModel,
    find_zoo_model,
    is_zoo_name,
    nearest_zoo_names,
    zoo_names,
)

__all__ = [
    "UnknownZooModel",
    "ZooFile",
    "ZooModel",
    "cached_folder",
    "find_zoo_model",
    "is_zoo_name",
    "models_folder",
    "nearest_zoo_names",
    "pull",
    "zoo_names",
]
