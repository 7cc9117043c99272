"""The journals of a dataset: which outputs are done, and in which shard."""

from dropcli.dataset.journal.file import Journal as Journal
from dropcli.dataset.journal.settings import check_settings as check_settings
from dropcli.dataset.journal.settings import missing_outputs as missing_outputs
from dropcli.dataset.journal.settings import settings_of as settings_of
from dropcli.dataset.journal.shards import Shard as Shard
from dropcli.dataset.journal.shards import is_journal as is_journal
from dropcli.dataset.journal.shards import journal_name as journal_name
from dropcli.dataset.journal.shards import journals_beside as journals_beside
from dropcli.dataset.journal.stamp import Stamp as Stamp
from dropcli.dataset.journal.stamp import Stamps as Stamps
from dropcli.dataset.journal.stamp import stamps_below as stamps_below
