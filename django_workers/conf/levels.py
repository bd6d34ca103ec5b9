"""Priorities as numbers and as names."""

from typing import Final

LEVELS: Final[dict[str, int]] = {"critical": 75, "high": 25, "normal": 0, "low": -50}


def priority_of(value: int | str) -> int:
    """The number of a priority or of a level by name.

    Raises ValueError for an unknown level or a number outside -100..100.
    """
    if isinstance(value, str):
        if value not in LEVELS:
            raise ValueError(
                f"{value!r} is no priority level; known: {', '.join(LEVELS)}."
            )
        return LEVELS[value]
    if (
        not isinstance(value, (int, float))
        or isinstance(value, bool)
        or not -100 <= value <= 100  # before int(), which infinity breaks
        or int(value) != value
    ):
        raise ValueError(
            f"priority must be a whole number between -100 and 100 or a level "
            f"({', '.join(LEVELS)}), not {value!r}."
        )
    return int(value)


def level_of(priority: int) -> str:
    """The name of the level a priority belongs to.

    Each level reaches from its own number up to the next one's.
    """
    for name, floor in LEVELS.items():
        if priority >= floor:
            return name
    return "low"
