"""The database's shape. Check constraints say what must hold; the audit proves what foreign keys would.

`METADATA` has every table once these modules are imported.
"""

from polka.store.tables import audit as audit
from polka.store.tables import banks as banks
from polka.store.tables import clearing as clearing
from polka.store.tables import keys as keys
from polka.store.tables import payments as payments
from polka.store.tables import posting as posting
from polka.store.tables import rates as rates
from polka.store.tables.columns import METADATA as METADATA
