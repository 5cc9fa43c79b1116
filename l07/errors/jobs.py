"""Jobs, their child processes and base models (E7700-E7749)."""

from typing import ClassVar

from l07.errors.fates import Fatal, L07Error, Poison, Refused, Transient


class BaseMissing(Refused):
    """The base model that was asked for is neither a folder here, nor a tiny base, nor an alias."""

    code = "E7710"


class ChildError(L07Error):
    """A child process did not deliver its result; `again` says whether another attempt can help."""

    again: ClassVar[bool] = False


class ChildKilled(ChildError, Transient):
    """A training or evaluation child was killed by a signal."""

    code = "E7700"
    again = True


class ChildOutOfMemory(ChildError, Poison):
    """A training or evaluation child ran out of memory."""

    code = "E7701"


class ChildTimedOut(ChildError, Poison):
    """A training or evaluation child took longer than its time limit, and was ended."""

    code = "E7702"


class TrainExtraMissing(ChildError, Fatal):
    """The extra [train] is not installed, so nothing can be trained or evaluated."""

    code = "E7703"


class ChildResultMissing(ChildError, Poison):
    """A child ended without a result that can be read."""

    code = "E7704"


class ChildDiskFull(ChildError, Fatal):
    """The disk is full, or its quota is used up, while a child writes its output."""

    code = "E7705"


class BadJob(ChildError, Poison):
    """A job.json is missing, is no JSON, or asks for something that does not exist."""

    code = "E7706"


class JobTaken(Transient):
    """A training job is no longer this trainer's: another one has taken it over, or it was cancelled."""

    code = "E7707"


class AttemptsUsedUp(ChildError, Poison):
    """As many attempts of a job were begun as are allowed, and each was cut off by the end of its trainer."""

    code = "E7708"


class ChildPreempted(ChildError, Transient):
    """A training child was asked to leave (SIGTERM) and left; what it had learned is in its last checkpoint."""

    code = "E7709"
    again = True


class JobMoveRefused(Refused):
    """A training job cannot go from its state to the one that was asked for."""

    code = "E7720"


class NothingToTrainOn(ChildError, Poison):
    """A dataset has no train row that fits the base model's context."""

    code = "E7721"


class DatasetDiffers(ChildError, Poison):
    """A dataset folder is incomplete, or its content does not fit its digest."""

    code = "E7722"


class BaseIncomplete(ChildError, Poison):
    """A base model's folder lacks a file that training needs, or one cannot be read."""

    code = "E7723"


class BaseDiffers(ChildError, Poison):
    """A base model's content does not fit its digest."""

    code = "E7724"


class TemplateUnfit(ChildError, Poison):
    """A chat template drops tools, calls or tool outputs, or does not mark what the assistant said."""

    code = "E7725"


class LossNotFinite(ChildError, Poison):
    """The loss or the weights of a training run became NaN or infinite."""

    code = "E7726"


class CheckpointUnfit(ChildError, Poison):
    """A checkpoint is damaged, incomplete, or of another job; the one before it is taken, or the job begins at step 0."""

    code = "E7727"


class BudgetSpent(ChildError, Poison):
    """What a training job, or its track in this month, may take in seconds or money is spent; the message says how to go on."""

    code = "E7730"


class ReporterUnusable(Fatal):
    """A tracker that the settings name cannot be told anything: its library is not installed, or nobody said where it is."""

    code = "E7731"


class ReporterDown(Transient):
    """A tracker did not take what it was told of a training; it is told no more of this attempt, and the job goes on."""

    code = "E7732"


class JobFolderTaken(ChildError, Poison):
    """Another child works in the folder that a job's attempt was given."""

    code = "E7733"


class CurriculumUnfit(ChildError, Poison):
    """A dataset version has no curriculum, or one that does not give each train row one place."""

    code = "E7734"


class QuantisationMissing(ChildError, Poison):
    """A job asks for a base in 4 bits, and its trainer has no CUDA GPU or no bitsandbytes."""

    code = "E7735"


class RanksUnfit(ChildError, Poison):
    """A job was to train in several processes, and its method, its adapter or its rows a step do not allow that."""

    code = "E7746"


class BaseNotPinned(Refused):
    """A base model of the hub was named without the commit that is meant, so it could be another one tomorrow."""

    code = "E7745"


class HubUnreachable(ChildError, Transient):
    """The hub does not answer, or may not be asked, and the base model is not here yet."""

    code = "E7742"
    again = True


class HubRefused(ChildError, Poison):
    """The hub has no such model or revision, or does not give it to us."""

    code = "E7743"


class BaseUnsafe(ChildError, Poison):
    """A base model of the hub has its weights only in files that may hold code, or needs code of its own."""

    code = "E7744"


class TeacherMissing(ChildError, Poison):
    """A model was to be distilled and no teacher is there: the track names none, no job by that name made one, or it is gone."""

    code = "E7736"


class TeacherUnfit(ChildError, Poison):
    """A teacher is not the one that a job names, is no language model, or has other tokens than the student."""

    code = "E7737"


class DoesNotFit(ChildError, Poison):
    """A training job needs more memory than its machine has, by an estimate made before weights are read; the message names settings that fit."""

    code = "E7740"


class HardwareUnfit(ChildError, Poison):
    """A job asks for something that its machine cannot do, such as flash attention without a GPU."""

    code = "E7741"
