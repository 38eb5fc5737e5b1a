# pip install clippy-diag keras tensorflow
import keras
import numpy as np
from clippy_diag.keras import ClippyCallback

model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(1)])  # yours
model.compile(optimizer=keras.optimizers.Adam(1e-3, global_clipnorm=1.0), loss="mse")
x, y = np.random.normal(size=(480, 4)).astype("float32"), np.random.normal(size=(480, 1)).astype("float32")  # yours

callback = ClippyCallback("capture", batches=True)  # batches may hold personal data: without them no closed loop
callback.capture()  # a drill, to see that all works: take it out later
model.fit(x, y, batch_size=8, callbacks=[callback])
# then: clippy-diag analyze capture
