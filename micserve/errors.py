"""Every error that micserve raises on purpose, grouped by whose fault it is.

    MicserveError
    ├── InputError            the request or the image is at fault; the caller can mend it
    │   ├── AxesError             the image's axes do not map onto the model's
    │   ├── ImageFormatError      the bytes are not an image that we can read
    │   ├── ImageTooLargeError    the image is larger than this server accepts
    │   ├── ParameterError        a parameter is unknown or out of range
    │   ├── UploadError           the request's body is cut off or holds no image
    │   ├── DataTooLargeError     more data than one person may keep here
    │   ├── UploadOffsetError     a part of an upload does not follow what has arrived
    │   ├── TrainingDataError     the folder cannot be trained on
    │   └── QualityControlError   the images cannot be compared
    ├── NotFoundError         the thing that was named does not exist
    │   ├── ModelNotFoundError
    │   └── VersionNotFoundError
    ├── RefusedError          we could, but the rules say no
    │   ├── AccessRefusedError    no or a bad token, or one that may not do this
    │   ├── PromotionRefusedError
    │   └── InUseError            a job that has not ended needs it
    ├── IntegrityError        what is stored is not what was published
    │   ├── PackageError          the model package is not valid
    │   ├── DigestMismatchError   bytes do not have the digest they were published with
    │   └── VerificationError     the network does not reproduce its test tensors
    ├── UnavailableError      try again later
    │   ├── BusyError             the queue is full
    │   ├── RateLimitError        one person sent more requests than are allowed
    │   ├── RegistryUnavailableError
    │   ├── ServiceUnavailableError
    │   ├── ExecutorUnavailableError   the scheduler that runs jobs does not answer
    │   ├── StorageFullError      the server's disk has no room
    │   └── ProviderUnavailableError   CUDA was asked for and is not there
    └── CancelledError        the caller asked us to stop

Each message is one or two sentences for a biologist: what was got, what was
expected, what to do. Numbers for HTTP live in `micserve.serving.problems`.
"""


class MicserveError(Exception):
    """Base of all errors that carry a sentence meant for a person."""


class InputError(MicserveError):
    """The request or the image is at fault."""


class AxesError(InputError):
    """The image's axes cannot be mapped onto the model's axes."""

    def __init__(self, message: str, *, got: str = "", expected: str = "") -> None:
        super().__init__(message)
        self.got, self.expected = got, expected


class ImageFormatError(InputError):
    """The bytes are not an image that we can read."""


class ImageTooLargeError(InputError):
    """The image, by its own header, is larger than this server accepts."""


class ParameterError(InputError):
    """A parameter is unknown, of the wrong type or out of range."""


class UploadError(InputError):
    """The request's body is cut off, or does not hold the files that are expected."""


class DataTooLargeError(InputError):
    """It is more data than one person may keep on this server."""


class UploadOffsetError(InputError):
    """This part of an upload does not begin where the last one ended."""


class TrainingDataError(InputError):
    """The folder of images cannot be trained on; the message names every file at fault."""


class QualityControlError(InputError):
    """The images cannot be compared."""


class NotFoundError(MicserveError):
    """The thing that was named does not exist."""


class ModelNotFoundError(NotFoundError):
    """No model of this name is in the registry."""


class VersionNotFoundError(NotFoundError):
    """The model exists, but not this version or alias."""


class RefusedError(MicserveError):
    """The rules of this server say no."""


class AccessRefusedError(RefusedError):
    """The token is missing, unknown or revoked, or its owner may not do this."""


class PromotionRefusedError(RefusedError):
    """An alias does not move to a version that was never verified."""


class InUseError(RefusedError):
    """A job that has not ended needs what was to be changed or deleted."""


class IntegrityError(MicserveError):
    """What is stored is not what was published."""


class PackageError(IntegrityError):
    """The model package is not valid."""


class DigestMismatchError(IntegrityError):
    """The bytes do not have the digest that they were published with."""

    def __init__(self, what: str, *, got: str, expected: str) -> None:
        super().__init__(
            f"{what} has sha256 {got[:12]}…, but {expected[:12]}… was published: the file was "
            "changed or is damaged, and it is not used. Restore the registry from its backup."
        )
        self.got, self.expected = got, expected


class VerificationError(IntegrityError):
    """The network does not reproduce its test tensors, or tiles change its result."""


class UnavailableError(MicserveError):
    """Something that is needed is away for the moment."""


class BusyError(UnavailableError):
    """The queue is full; `retry_after` is in seconds."""

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RateLimitError(UnavailableError):
    """One person sent more requests, or has more jobs at a time, than this server allows."""


class RegistryUnavailableError(UnavailableError):
    """The registry does not answer."""


class ServiceUnavailableError(UnavailableError):
    """The inference service of a family does not answer."""


class ExecutorUnavailableError(UnavailableError):
    """The scheduler that runs jobs does not answer, or refuses."""


class StorageFullError(UnavailableError):
    """The server's disk has no room for this; nothing of it was kept."""


class ProviderUnavailableError(UnavailableError):
    """The asked-for execution provider (CUDA) is not there."""


class CancelledError(MicserveError):
    """The caller asked us to stop."""
