"""The kinds of `strandline.dev/v1alpha1`: the one definition everything else comes from.

CRDs, JSON Schema, reference pages and the console's forms are generated from these
models (`make generate`). Fields are camelCase in documents and snake_case in Python.
The modules of `strandline.spec.kinds` hold them; everybody imports them from here.
"""

from __future__ import annotations

from strandline.spec.fields import parse_duration as parse_duration
from strandline.spec.kinds.base import (
    API_VERSION as API_VERSION,
    KindModel as KindModel,
    Metadata as Metadata,
    to_document as to_document,
)
from strandline.spec.kinds.batch_prediction import (
    BatchPrediction as BatchPrediction,
    BatchPredictionSpec as BatchPredictionSpec,
    BatchPredictionStatus as BatchPredictionStatus,
    PredictionOutput as PredictionOutput,
    TableFormat as TableFormat,
)
from strandline.spec.kinds.compute_pool import (
    Accelerator as Accelerator,
    AcceleratorKind as AcceleratorKind,
    ComputePool as ComputePool,
    ComputePoolSpec as ComputePoolSpec,
    ComputePoolStatus as ComputePoolStatus,
    PoolCapacity as PoolCapacity,
    TaintEffect as TaintEffect,
    Toleration as Toleration,
    TpuSlice as TpuSlice,
    Workers as Workers,
)
from strandline.spec.kinds.dataset import (
    Dataset as Dataset,
    DatasetSource as DatasetSource,
    DatasetSpec as DatasetSpec,
    DatasetStatus as DatasetStatus,
    ImportLimits as ImportLimits,
    SourceFormat as SourceFormat,
    SplitPolicy as SplitPolicy,
    TaskChoice as TaskChoice,
)
from strandline.spec.kinds.endpoint import (
    Batching as Batching,
    Endpoint as Endpoint,
    EndpointAuth as EndpointAuth,
    EndpointSpec as EndpointSpec,
    EndpointStatus as EndpointStatus,
    ModelTraffic as ModelTraffic,
    Replicas as Replicas,
    Rollout as Rollout,
    ScaleTarget as ScaleTarget,
    ServedModel as ServedModel,
)
from strandline.spec.kinds.labeling_job import (
    Annotators as Annotators,
    AnswerPolicy as AnswerPolicy,
    ExtraAnswer as ExtraAnswer,
    GoldQuestions as GoldQuestions,
    ItemChoice as ItemChoice,
    ItemOrder as ItemOrder,
    LabelDescription as LabelDescription,
    LabelingJob as LabelingJob,
    LabelingJobSpec as LabelingJobSpec,
    LabelingJobStatus as LabelingJobStatus,
)
from strandline.spec.kinds.model import (
    Model as Model,
    ModelSpec as ModelSpec,
    ModelStatus as ModelStatus,
)
from strandline.spec.kinds.references import (
    DatasetRef as DatasetRef,
    DriverPlace as DriverPlace,
    ModelRef as ModelRef,
    ModelTarget as ModelTarget,
    NamedChoice as NamedChoice,
    PoolRef as PoolRef,
)
from strandline.spec.kinds.search import (
    ONE_SHOT as ONE_SHOT,
    Budget as Budget,
    Goal as Goal,
    Objective as Objective,
    Rerank as Rerank,
    Search as Search,
    SearchSpec as SearchSpec,
    StopRules as StopRules,
    WarmStart as WarmStart,
)
from strandline.spec.kinds.search_status import (
    BestTrial as BestTrial,
    Forecast as Forecast,
    PoolUse as PoolUse,
    ProxyQuality as ProxyQuality,
    SearchStatus as SearchStatus,
    TrialCounts as TrialCounts,
)
from strandline.spec.kinds.training import (
    CellSource as CellSource,
    Training as Training,
    TrainingSpec as TrainingSpec,
    TrainingStatus as TrainingStatus,
)
from strandline.spec.networks import (
    CellFamily as CellFamily,
    Network as Network,
    Schedule as Schedule,
)
from strandline.spec.search_space import (
    Parameter as Parameter,
    ParameterCondition as ParameterCondition,
    ParameterType as ParameterType,
    Space as Space,
    SpacePreset as SpacePreset,
)

Kind = Dataset | LabelingJob | ComputePool | Search | Training | Model | Endpoint | BatchPrediction
"""A document of any kind."""

KINDS: dict[str, type[Kind]] = {
    "Dataset": Dataset,
    "LabelingJob": LabelingJob,
    "ComputePool": ComputePool,
    "Search": Search,
    "Training": Training,
    "Model": Model,
    "Endpoint": Endpoint,
    "BatchPrediction": BatchPrediction,
}
"""Every kind by its name; what is listed for all kinds comes in this order."""
