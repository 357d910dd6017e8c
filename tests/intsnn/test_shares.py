from intsnn.shares import percent, percent_change


def test_a_share_by_hand() -> None:
    assert [percent(0.98333), percent(1, 1), percent(0.15, 0), percent(None)] == ["98.33 %", "100.0 %", "15 %", "-"]


def test_a_change_has_its_sign() -> None:
    assert [percent_change(1.083), percent_change(0.5), percent_change(1)] == ["+8.3 %", "-50.0 %", "+0.0 %"]
