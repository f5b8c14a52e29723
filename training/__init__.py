"""How the small embedded models are made, on pictures that `t2vz.world` paints; run from a checkout.

    fit        one training loop for all: budget, moving average, resuming
    folder     where everything lies, and what is asked of a training
    pictures   scenes painted once, read as training batches
    tokenizer  words to numbers: CLIP's byte-pair files for the picture world's words
    clip       text and image tower, contrastively
    vae        the KL autoencoder, and its decoder once more
    unet       the noise prediction on cached latents
    edit       the UNet that edits (E15)
    control    the ControlNet for edges (E14)
    export     the folder `weights/embedded/`, and back

`pip install -e '.[train]'`, then `python -m training all --out runs/embedded` does everything.
"""
