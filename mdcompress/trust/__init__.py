"""Code that is named as `module:function` -> its module, where the user said yes. Nowhere else is code found by name.

What a command line or a program names itself, its user has chosen. What a file names is asked for (`asking`).
"""

from mdcompress.trust.consent import GIVEN, REFUSED, Consent
from mdcompress.trust.importing import import_named
from mdcompress.trust.names import NamedCode

__all__ = ["GIVEN", "REFUSED", "Consent", "NamedCode", "import_named"]
