"""The schema of the database. Check constraints enforce simple rules. The audit proves the rules of foreign keys.

`METADATA` has every table after the import of these modules.
"""

from polka.store.tables import audit as audit
from polka.store.tables import banks as banks
from polka.store.tables import clearing as clearing
from polka.store.tables import keys as keys
from polka.store.tables import payments as payments
from polka.store.tables import posting as posting
from polka.store.tables import rates as rates
from polka.store.tables.columns import METADATA as METADATA
