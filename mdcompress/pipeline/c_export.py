"""The integer graph -> the folder of C that `export --format c` writes, and what it takes of a microcontroller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mdcompress.runs import C_FOLDER

if TYPE_CHECKING:
    from intsnn.microcontroller.limits import Limits
    from intsnn.microcontroller.writing import CPackage
    from mdcompress.recipe import Recipe


@dataclass(frozen=True)
class CForm:
    """How the C is named (None: as the recipe), and the bytes of flash and RAM that it may take (None: any).

    Raises:
        UsageError: C does not allow the name.
    """

    name: str | None = None
    max_flash: int | None = None
    max_ram: int | None = None

    def __post_init__(self) -> None:
        from intsnn.microcontroller.naming import require_c_name

        if self.name is not None:
            require_c_name(self.name)

    def name_for(self, recipe: Recipe) -> str:
        """The name that was chosen, or the recipe's, wherever the run stands."""
        from intsnn.microcontroller.naming import c_name

        return self.name or c_name(recipe.name)

    @property
    def limits(self) -> Limits:
        """The bytes of each memory."""
        return {"flash": self.max_flash, "RAM": self.max_ram}


ANY_C = CForm()


def c_summary(made: CPackage) -> str:
    """What the run's record and the terminal say of the C."""
    words = {"c": f"{made.name}.c, {made.name}.h in {C_FOLDER}/", **made.in_words()}
    return "\n".join([*(f"{what:<10} {said}" for what, said in words.items()), "", made.table()])


def c_figures(made: CPackage) -> dict[str, float]:
    """The figures for the record."""
    return {
        **made.report.figures,
        "synaptic_additions_most": sum(each.most for each in made.additions),
        "synaptic_additions": sum(each.mean for each in made.additions),
    }
