"""Names of what stands in an experiment's directory beside the model."""

TEXT_ENCODER = "text_encoder"  # directory of a pretrained text encoder's description
CONFIDENCE = "confidence.json"
