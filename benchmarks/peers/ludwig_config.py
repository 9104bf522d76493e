import sys

import numpy as np
import pandas as pd
import yaml
from ludwig.api import LudwigModel

CONFIG = """
input_features:
  - name: image
    type: image
    preprocessing: {height: 28, width: 28, num_channels: 1, in_memory: true}
    encoder:
      type: stacked_cnn
      conv_layers:
        - {out_channels: 16}
        - {out_channels: 32}
      kernel_size: 3
      padding: same
      conv_use_bias: false
      conv_norm: batch
      conv_dropout: 0.2
      pool_kernel_size: 2
      fc_layers: []
output_features:
  - {name: label, type: category}
trainer: {batch_size: 128, optimizer: {type: adam}, learning_rate: 0.001}
preprocessing: {split: {type: fixed}}
"""

config = yaml.safe_load(CONFIG)
config["trainer"]["epochs"] = int(sys.argv[1])
data = np.load("mnist.npz")
images = np.concatenate([data["x_train"], data["x_test"]])[..., None]
table = pd.DataFrame({"image": list(images), "label": np.concatenate([data["y_train"], data["y_test"]])})
table["split"] = [0] * len(data["x_train"]) + [2] * len(data["x_test"])

model = LudwigModel(config, logging_level="INFO")
model.train(table, skip_save_processed_input=True, output_directory="results")
print("parameters", sum(weights.numel() for weights in model.model.parameters()))
scores, _, _ = model.evaluate(table[table.split == 2], skip_save_predictions=True)
print("test accuracy", scores["label"]["accuracy_micro"])
