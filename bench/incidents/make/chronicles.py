"""Incidents that others told in public, rebuilt small: the kind of fault, and what is said there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Chronicle:
    """One incident of others."""

    name: str
    source: str
    #: What is said there, in a sentence of ours.
    says: str
    #: The fault of faults.py that is the same link at a small size.
    fault: str
    model: str
    optimizer: str
    trainer: str | None = None
    needs: dict[str, Any] = field(default_factory=dict)


CHRONICLES: tuple[Chronicle, ...] = (
    Chronicle("palm-spikes", "https://arxiv.org/abs/2204.02311", "The loss spiked some 20 times although gradients were clipped; going back about 100 steps and leaving out 200 to 500 batches removed each spike.", "data-labels", "transformer", "adam"),
    Chronicle("opt-175b-divergence", "https://arxiv.org/abs/2205.01068", "The loss diverged several times; a lower rate from an earlier checkpoint let the run go on.", "rate-ramp", "transformer", "adamw"),
    Chronicle("opt-175b-loss-scale", "https://arxiv.org/abs/2205.01068", "Divergence went together with a loss scale that fell towards 0.", "overflow", "transformer", "adamw"),
    Chronicle("opt-175b-clip", "https://arxiv.org/abs/2205.01068", "The threshold of clipping was lowered from 1.0 to 0.3 early in the run for stability.", "clip-removed", "transformer", "adam"),
    Chronicle("glm-130b-embedding", "https://arxiv.org/abs/2210.02414", "Spikes followed abnormal gradients of the embedding layer; shrinking its gradient to a tenth made the run stable.", "rate-jump", "transformer", "adam"),
    Chronicle("olmo-2-repeated-grams", "https://arxiv.org/abs/2501.00656", "Batches with long runs of repeated n-grams went together with spikes of loss and gradient.", "repeated-batch", "transformer", "adamw"),
    Chronicle("kimi-k2-logits", "https://arxiv.org/abs/2507.20534", "Attention logits grew without limit at scale until they were bounded.", "sharp", "transformer", "adam"),
    Chronicle("adam-instability", "https://arxiv.org/abs/2304.09871", "Large updates of Adam that agree in direction explain spikes of language models.", "state-stale", "transformer", "adam"),
    Chronicle("transformers-37766", "https://github.com/huggingface/transformers/issues/37766", "The loss was divided by the items of one forward pass and not of the batch, so it grew with the accumulation steps; no error was raised.", "not-divided", "transformer", "adamw"),
    Chronicle("transformers-35207", "https://github.com/huggingface/transformers/pull/35207", "The loss was not scaled before backward under accumulation: norm and loss depended on the number of steps.", "not-divided", "mlp-ranker", "momentum"),
    Chronicle("transformers-35210", "https://github.com/huggingface/transformers/pull/35210", "The number of items was taken over all steps although the gradient is divided by the steps once more.", "divided-twice", "mmoe-ranker", "momentum"),
    Chronicle("atlas-26", "https://github.com/fredzzhang/atlas/pull/26", "The loss was not divided by the number of accumulation steps.", "not-divided", "gru", "momentum"),
    Chronicle("accelerate-641", "https://github.com/huggingface/accelerate/issues/641", "Clipping did not work together with gradient accumulation.", "clip-inactive", "classifier", "adam"),
    Chronicle("pytorch-170862", "https://github.com/pytorch/pytorch/issues/170862", "Clipping returned, and used, the norm of the local shard instead of the norm of all parameters.", "clip-norm-factor", "transformer", "adamw"),
    Chronicle("torchtitan-766", "https://github.com/pytorch/torchtitan/issues/766", "The norm differed between ranks: it was not reduced over the shards.", "clip-norm-factor", "mmoe-ranker", "adagrad"),
    Chronicle("torchtune-2420", "https://github.com/meta-pytorch/torchtune/issues/2420", "Clipping by norm did not work under tensor parallelism.", "clip-norm-factor", "mlp-ranker", "momentum"),
    Chronicle("torchtitan-596", "https://github.com/pytorch/torchtitan/issues/596", "Under pipeline parallelism each stage clipped by the norm of its own parameters.", "clip-norm-factor", "cnn", "momentum"),
    Chronicle("opendiloco-6", "https://github.com/PrimeIntellect-ai/OpenDiloco/pull/6", "The norm of sharded gradients was that of a shard until the model's own clip call was used.", "clip-norm-factor", "dcn-ranker", "adagrad"),
    Chronicle("loongforge-152", "https://github.com/baidu-baige/LoongForge/pull/152", "The gradient norm and the clipping of sharded gradients were wrong.", "clip-norm-factor", "vae", "momentum"),
    Chronicle("pytorch-unet-468", "https://github.com/milesial/Pytorch-UNet/issues/468", "Gradients were clipped before they were unscaled.", "clip-before-unscale", "cnn", "rmsprop"),
    Chronicle("lightning-9599", "https://github.com/Lightning-AI/pytorch-lightning/issues/9599", "Clipping ran before unscaling, and the learning curve was very flat.", "clip-before-unscale", "mlp-ranker", "momentum"),
    Chronicle("torchssl-59", "https://github.com/TorchSSL/TorchSSL/pull/59", "Under mixed precision the scaled gradients were clipped.", "clip-before-unscale", "classifier", "momentum"),
    Chronicle("returnn-1595", "https://github.com/rwth-i6/returnn/pull/1595", "Noise and clipping acted on scaled gradients.", "clip-before-unscale", "gru", "adam"),
    Chronicle("apex-1512", "https://github.com/NVIDIA/apex/pull/1512", "Clipping assumed another order of unscaling, which gave extremely small gradients.", "clip-before-unscale", "transformer", "momentum"),
    Chronicle("allennlp-5426", "https://github.com/allenai/allennlp/pull/5426", "Scaled gradients were clipped under mixed precision.", "clip-before-unscale", "dcn-ranker", "adagrad"),
    Chronicle("pytorch-fcn-57", "https://github.com/wkentaro/pytorch-fcn/issues/57", "The model stayed in evaluation mode after a validation within the epoch; the loss jumped when the next epoch began.", "eval-mode", "cnn", "momentum"),
    Chronicle("joeynmt-184", "https://github.com/joeynmt/joeynmt/issues/184", "After a validation the rest of the epoch was trained in evaluation mode.", "eval-mode", "classifier", "adam"),
    Chronicle("clevr-iep-22", "https://github.com/facebookresearch/clevr-iep/pull/22", "The accuracy check set evaluation mode and never set training mode again.", "eval-mode", "cnn", "adam"),
    Chronicle("small-text-40", "https://github.com/webis-de/small-text/issues/40", "More than one validation an epoch left the model in evaluation mode.", "eval-mode", "classifier", "adamw"),
    Chronicle("ms-swift-10050", "https://github.com/modelscope/ms-swift/issues/10050", "A resume within a later epoch replayed the order of epoch 0, so samples were trained on again.", "order-repeated", "transformer", "adamw"),
    Chronicle("nanogpt-467", "https://github.com/karpathy/nanoGPT/issues/467", "A fixed seed at each resume may draw the same batches in the same order.", "order-repeated", "transformer", "adam"),
    Chronicle("llm-foundry-1277", "https://github.com/mosaicml/llm-foundry/pull/1277", "A resume repeated samples; the loss was lower until the repeats ended.", "order-repeated", "mlp-ranker", "adam"),
    Chronicle("accelerate-4071", "https://github.com/huggingface/accelerate/pull/4071", "Skipping batches at a resume reset the sampler to epoch 0.", "order-repeated", "gru", "adam"),
    Chronicle("sparse-to-dense-19", "https://github.com/fangchangma/sparse-to-dense.pytorch/issues/19", "Workers were seeded by their number, so a resume saw the same data twice.", "order-repeated", "vae", "adam"),
    Chronicle("svd-xtend-75", "https://github.com/pixeli99/SVD_Xtend/issues/75", "All processes had one random seed and drew the same data at every step.", "same-data-on-ranks", "mmoe-ranker", "adam"),
    Chronicle("hvpnet-5", "https://github.com/zjunlp/HVPNeT/issues/5", "The last layers were prepared for the optimizer and never added to it.", "not-in-optimizer", "mlp-ranker", "adamw"),
    Chronicle("neural-fingerprint-2", "https://github.com/keiserlab/keras-neural-graph-fingerprint/issues/2", "Inner layers were not among the trainable weights and did not learn.", "not-in-optimizer", "classifier", "adam"),
    Chronicle("torchao-1124", "https://github.com/pytorch/ao/pull/1124", "With weights in bfloat16 an update below a thousandth of a weight changes nothing.", "rounded", "transformer", "adamw"),
    Chronicle("ml-by-hand-85", "https://github.com/workofart/ml-by-hand/pull/85", "Updates were computed in float32 and written back to bfloat16: 0 of 768 weights moved.", "rounded", "mlp-ranker", "momentum"),
    Chronicle("onetrainer-996", "https://github.com/Nerogar/OneTrainer/issues/996", "Weight decay applied in bfloat16 rounds to nothing.", "decay-factor", "vae", "adamw"),
    Chronicle("deepreflect-11", "https://github.com/evandowning/deepreflect/issues/11", "A feature whose largest value is 0 made the normalisation divide by 0: NaN from then on.", "data-nan", "mlp-ranker", "adam"),
    Chronicle("fairseq-1863", "https://github.com/facebookresearch/fairseq/issues/1863", "One sample of length 1 was normalised to NaN and destroyed the run.", "data-nan", "gru", "adam"),
    Chronicle("allosaurus-64", "https://github.com/xinjli/allosaurus/issues/64", "A variance that came out negative, or 0, turned features into NaN.", "data-nan", "cnn", "adam"),
    Chronicle("gan-zoo-89", "https://github.com/facebookresearch/pytorch_GAN_zoo/issues/89", "A loss term divides by 0 in a rare case; one such step poisons the weights.", "log-of-zero", "vae", "adam"),
    Chronicle("deepspeed-697", "https://github.com/deepspeedai/DeepSpeed/issues/697", "Gradients overflowed in half precision at every step and the scale fell to 1.", "overflow", "mlp-ranker", "adam"),
    Chronicle("ru-gpts-63", "https://github.com/ai-forever/ru-gpts/issues/63", "After some 16,000 steps every step was skipped with a loss scale of 0.", "overflow", "gru", "adam"),
    Chronicle("pytorch-35047", "https://github.com/pytorch/pytorch/issues/35047", "A run that went on from its checkpoint left the trajectory of the one that was not interrupted.", "state-of-other", "dcn-ranker", "adagrad"),
    Chronicle("onevision-encoder-65", "https://github.com/EvolvingLMMs-Lab/OneVision-Encoder/pull/65", "The optimizer's state was not saved, and each resume gave spikes and instability.", "state-fresh", "transformer", "adamw"),
    Chronicle("apex-480", "https://github.com/NVIDIA/apex/issues/480", "The loss jumped at the reload of a checkpoint, with the optimizer's state as the likely reason.", "state-stale", "cnn", "adam"),
    Chronicle("deepspeech-258", "https://github.com/mozilla/DeepSpeech/issues/258", "After a restore the loss never came below its level of before; a lower rate solved it.", "rate-jump", "gru", "adam"),
    Chronicle("the-well-77", "https://github.com/PolymathicAI/the_well/issues/77", "The schedule and the loss scaler were not stored, so a resumed run went another way.", "rate-restarted", "mlp-ranker", "adamw"),
    Chronicle("xmodaler-15", "https://github.com/YehLi/xmodaler/issues/15", "After an interruption the rate was not the one of before.", "rate-restarted", "cnn", "adam"),
    Chronicle("yolov5-292", "https://github.com/ultralytics/yolov5/issues/292", "Making the scheduler at a resume set the rate back to its first value.", "rate-restarted", "cnn", "momentum"),
    Chronicle("deep-person-reid-270", "https://github.com/KaiyangZhou/deep-person-reid/issues/270", "The rate began a new drop pattern at the resume.", "rate-restarted", "classifier", "momentum"),
    Chronicle("parlai-1812", "https://github.com/facebookresearch/ParlAI/pull/1812", "A restart multiplied the rate by 0.0001.", "rate-zero", "mmoe-ranker", "adam"),
    Chronicle("mistral-115", "https://github.com/stanford-crfm/mistral/issues/115", "Large spikes that come back slowly; bad batches were suspected.", "data-labels", "transformer", "adam"),
    Chronicle("megatron-deepspeed-57", "https://github.com/bigscience-workshop/Megatron-DeepSpeed/issues/57", "The loss went from 3 to 8 and came back after hours.", "data-labels", "gru", "adam"),
    Chronicle("pytorch-184062", "https://github.com/pytorch/pytorch/issues/184062", "A report was withdrawn: bits flipped in the machine's memory without a message.", "entries-changed", "mlp-ranker", "adam"),
    Chronicle("faceswap-310", "https://github.com/deepfakes/faceswap/issues/310", "A loose card corrupted a training that was well for 400,000 iterations.", "lone-gradient", "cnn", "adam"),
    Chronicle("darknet-5547", "https://github.com/AlexeyAB/darknet/issues/5547", "The loss became NaN through one faulty card; with the others removed the run was well.", "entries-changed", "vae", "adam"),
)  # fmt: skip
