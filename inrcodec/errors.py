"""Every way this package refuses to go on, and the exit code the command line gives it.

| code | error              | meaning                                                              |
| ---- | ------------------ | -------------------------------------------------------------------- |
| 2    | UsageError         | an argument or option is wrong, or an array has the wrong shape      |
| 3    | InputNotFound      | the input path does not exist                                        |
| 4    | UnreadableInput    | the input cannot be read (permission, I/O error) or has zero bytes   |
| 5    | UnsupportedInput   | no reader knows this file, or it is damaged                          |
| 6    | NothingToDo        | a directory without a file to code                                   |
| 7    | OutputExists       | the output is there already and overwriting was not asked for        |
| 8    | OutputFailed       | the output cannot be written (read-only, disk full, unknown format)  |
| 9    | VerificationFailed | what was written does not decode as announced (`--test`)             |
| 10   | UnknownModel       | no base network of this name is installed                            |
| 11   | ModelMismatch      | the stream needs another base network than the one installed         |
| 12   | ModelDamaged       | a base network's files are incomplete or fail their hash             |
| 20   | NotAStream         | the file does not begin with the magic of a stream                   |
| 21   | UnsupportedVersion | the stream is of a format version this program does not read         |
| 22   | TruncatedStream    | the stream ends before its header says it should                     |
| 23   | CorruptStream      | the stream contradicts itself or fails its checksum                  |
| 24   | LimitExceeded      | the dimensions exceed the limit (`--max-pixels`)                     |
| 25   | OutOfMemory        | not enough memory, on the host or on the accelerator                 |
| 26   | DeviceUnavailable  | the device asked for is not present                                  |
| 27   | Recovered          | what is intact was decoded, the rest is lost (`--recover`)           |

The codes are frozen: a new error takes a new number. Any other exception that escapes is a bug of ours.
"""


class InrcodecError(Exception):
    """Base of the tree: a one-line sentence with the numbers in it, and an `exit_code`."""

    exit_code: int = 1

    def __init__(self, sentence: str) -> None:
        super().__init__(" ".join(sentence.splitlines()))


class UsageError(InrcodecError):
    exit_code = 2


class InputNotFound(InrcodecError):
    exit_code = 3


class UnreadableInput(InrcodecError):
    exit_code = 4


class UnsupportedInput(InrcodecError):
    exit_code = 5


class NothingToDo(InrcodecError):
    exit_code = 6


class OutputExists(InrcodecError):
    exit_code = 7


class OutputFailed(InrcodecError):
    exit_code = 8


class VerificationFailed(InrcodecError):
    exit_code = 9


class UnknownModel(InrcodecError):
    exit_code = 10


class ModelMismatch(InrcodecError):
    exit_code = 11


class ModelDamaged(InrcodecError):
    exit_code = 12


class NotAStream(InrcodecError):
    exit_code = 20


class UnsupportedVersion(InrcodecError):
    exit_code = 21


class TruncatedStream(InrcodecError):
    exit_code = 22


class CorruptStream(InrcodecError):
    exit_code = 23


class LimitExceeded(InrcodecError):
    exit_code = 24


class OutOfMemory(InrcodecError):
    exit_code = 25


class DeviceUnavailable(InrcodecError):
    exit_code = 26


class Recovered(InrcodecError):
    exit_code = 27
