"""Places in memory by hand and by property; tables beside the code."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from intsnn.emission.memory import ALIGNMENT, Lifetime, placed
from intsnn.emission.tables import Tables

TENSORS = st.lists(
    st.tuples(st.integers(1, 300), st.integers(0, 6), st.integers(0, 4)).map(lambda it: (it[0], it[1], it[1] + it[2])),
    max_size=12,
).map(lambda all_: [Lifetime(f"t{k}", *each) for k, each in enumerate(all_)])


@given(TENSORS)
def test_tensors_that_live_at_one_time_share_no_byte(tensors: list[Lifetime]) -> None:
    layout = placed(tensors)
    assert all(offset % ALIGNMENT == 0 for offset in layout.offsets.values()) and layout.size % ALIGNMENT == 0
    for step in range(12):
        alive = [tensor for tensor in tensors if tensor.first <= step <= tensor.last]
        taken = [set(range(layout.offsets[each.name], layout.offsets[each.name] + each.size)) for each in alive]
        assert len(set().union(*taken)) == sum(map(len, taken))
        assert all(max(each) < layout.size for each in taken)


def test_who_is_dead_gives_its_place_away() -> None:
    chain = [Lifetime("a", 64, 0, 1), Lifetime("b", 64, 1, 2), Lifetime("c", 64, 2, 3), Lifetime("long", 10, 0, 3)]
    layout = placed(chain)
    assert layout.offsets["a"] == layout.offsets["c"] == 0
    assert layout.offsets["b"] == 64 and layout.offsets["long"] == 128
    assert layout.size == 192


def test_last_reader_and_first_writer_of_one_stage_do_not_share() -> None:
    layout = placed([Lifetime("read", 8, 0, 1), Lifetime("written", 8, 1, 2)])
    assert layout.offsets == {"read": 0, "written": 64}


def test_nothing_takes_nothing() -> None:
    assert placed([]).size == 0


def test_block_holds_each_table_in_its_element_where_a_vector_may_start() -> None:
    tables = Tables(in_source=False, prefix="net")
    first = tables.add("a", np.array([[1, -2], [3, -4]]), part="x")
    second = tables.add("b", np.array([300, -300]), part="x")
    third = tables.add("c", np.array([1]), part="y", element="int32")
    assert first == "((const nn_int8 *)(net->tables + 0))"
    assert second == "((const nn_int16 *)(net->tables + 64))"
    assert third == "((const nn_int32 *)(net->tables + 128))"
    assert tables.block[:4] == bytes([1, 254, 3, 252])
    assert tables.block[64:68] == np.array([300, -300], "<i2").tobytes()
    assert tables.block[128:132] == bytes([1, 0, 0, 0]) and len(tables.block) == 192
    assert [table.size for table in tables.all] == [4, 4, 4]
    assert tables.definitions == []


def test_table_of_one_name_is_kept_once() -> None:
    tables = Tables(in_source=False, prefix="net")
    assert tables.add("a", np.array([1]), part="x") == tables.add("a", np.array([1]), part="x")
    assert len(tables.all) == 1 and len(tables.block) == 64


def test_tables_in_the_source_are_arrays_of_c() -> None:
    tables = Tables(in_source=True, prefix="net")
    assert tables.add("a", np.array([200, 7]), part="x") == "net_a"
    assert tables.definitions == ["static const uint8_t net_a[2] = {", "200, 7,", "};"]
