"""Bytes on disk: read anywhere, published whole or not at all."""

from dropcli.files.paths import STDIN as STDIN
from dropcli.files.paths import STDOUT as STDOUT
from dropcli.files.paths import Identity as Identity
from dropcli.files.paths import check_destination as check_destination
from dropcli.files.paths import foresee_destination as foresee_destination
from dropcli.files.paths import goes_to_stdout as goes_to_stdout
from dropcli.files.paths import identity as identity
from dropcli.files.paths import identity_of as identity_of
from dropcli.files.paths import is_file as is_file
from dropcli.files.paths import is_folder as is_folder
from dropcli.files.paths import is_piped as is_piped
from dropcli.files.paths import place_of as place_of
from dropcli.files.paths import same_file as same_file
from dropcli.files.publish import Transaction as Transaction
from dropcli.files.publish import make_folders as make_folders
from dropcli.files.publish import publish as publish
from dropcli.files.reader import Reader as Reader
from dropcli.files.temporary import is_temporary as is_temporary
from dropcli.files.temporary import new_run as new_run
from dropcli.files.temporary import remove_stale as remove_stale
from dropcli.files.writer import Output as Output
