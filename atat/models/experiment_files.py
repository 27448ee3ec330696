"""Names of what stands in an experiment's directory beside `model.pth`."""

TEXT_ENCODER = "text_encoder"  # directory of a pretrained text encoder's description
CONFIDENCE = "confidence.json"
