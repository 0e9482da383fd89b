"""The stages of a study, in the order in which a run takes them."""

from echosynth.stages import autoencoder, evaluation, image, latents, regressor, reid, segmentation, synthesis, unselected, video

STAGES = (
    autoencoder.STAGE,
    latents.STAGE,
    image.STAGE,
    reid.STAGE,
    video.STAGE,
    regressor.STAGE,
    segmentation.STAGE,
    synthesis.STAGE,
    unselected.STAGE,
    evaluation.STAGE,
)
