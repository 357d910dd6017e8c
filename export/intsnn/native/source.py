from dataclasses import dataclass
@dataclass(frozen=True)
class PortableSource:
    header: str
    code: str
    state_bytes: int
    table_bytes: int
    additions: int
