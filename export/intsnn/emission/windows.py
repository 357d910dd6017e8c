"""Windows as C: one axis at a time, which input place an output place reads at each place of the kernel."""

from __future__ import annotations

from dataclasses import dataclass, replace

from intsnn.graph import IntConv, IntConvTranspose, IntPool, Shape, Sizes

_NAMES = ("d", "h", "w")


@dataclass(frozen=True)
class Axis:
    """One axis of a window: o is the output place, k the place in the kernel, z the input place.

    z = o*stride + k*dilation - padding; of a transposed window z = (o + padding - k*dilation) / stride, where that
    divides.
    """

    name: str
    size: int
    outputs: int
    kernel: int
    stride: int
    padding: int
    dilation: int
    transposed: bool = False

    @property
    def out(self) -> str:
        """The C name of the output place."""
        return f"o{self.name}"

    @property
    def tap(self) -> str:
        """The C name of the place in the kernel."""
        return f"k{self.name}"

    @property
    def read(self) -> str:
        """The C name of the input place."""
        return f"z{self.name}"

    @property
    def reading(self) -> str:
        """The input place, as C; of a transposed window before the division."""
        if self.transposed:
            return f"{self.out} + {self.padding} - {self.tap} * {self.dilation}"
        return f"{self.out} * {self.stride} + {self.tap} * {self.dilation} - {self.padding}"

    @property
    def share(self) -> str:
        """The head of the loop over the output places of one thread."""
        return f"for (int {self.out} = begin; {self.out} < end; {self.out}++) {{"

    @property
    def may_leave(self) -> bool:
        """Whether a window can read outside of the input."""
        return self.transposed or self.padding > 0  # without padding a window ends within the input (rule `shapes_fit`)

    def visited(self) -> list[str]:
        """The head of the loop over the kernel with the input place; places outside are left out."""
        return [f"for (int {self.tap} = 0; {self.tap} < {self.kernel}; {self.tap}++) {{", *self.placed()]

    def span(self) -> list[str]:
        """`low` to `high` - 1, the places of a line that a plain window reads; none where all is padding."""
        return [
            f"const int before = {self.out} * {self.stride} - {self.padding};",
            f"const int low = nn_smaller(nn_larger(before, 0), {self.size});",
            f"const int high = nn_larger(nn_smaller(before + {self.kernel}, {self.size}), low);",
        ]

    def placed(self) -> list[str]:
        """The input place of an output place and a place of the kernel; `continue` where there is none."""
        lines = list[str]()
        if not self.transposed:
            lines.append(f"const int {self.read} = {self.reading};")
            if self.may_leave:
                lines.append(f"if ({self.read} < 0 || {self.read} >= {self.size}) continue;")
            return lines
        lines.append(f"const int far_{self.name} = {self.reading};")
        lines.append(f"if (far_{self.name} < 0 || far_{self.name} % {self.stride} != 0) continue;")
        lines.append(f"const int {self.read} = far_{self.name} / {self.stride};")
        lines.append(f"if ({self.read} >= {self.size}) continue;")
        return lines


def axes_of_pool(node: IntPool, shape: Shape) -> tuple[Axis, ...]:
    """The axes of a pool over a map."""
    ones = (1,) * len(node.kernel)
    return _axes(shape[1:], node.shape[1:], (node.kernel, node.stride, node.padding, ones), transposed=False)


def axes_of_convolution(node: IntConv | IntConvTranspose, shape: Shape) -> tuple[Axis, ...]:
    """The axes of a convolution over a map."""
    numbers = (node.kernel, node.stride, node.padding, node.dilation)
    return _axes(shape[1:], node.shape[1:], numbers, transposed=isinstance(node, IntConvTranspose))


def _axes(
    sizes: Shape, outputs: Shape, numbers: tuple[Sizes, Sizes, Sizes, Sizes], *, transposed: bool
) -> tuple[Axis, ...]:
    each = zip(_NAMES[-len(sizes) :], sizes, outputs, *numbers, strict=True)
    return tuple(replace(Axis(*values), transposed=transposed) for values in each)
