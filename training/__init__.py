"""The small embedded model: its pictures (`world`), its training, and the folder it is shipped in.

    pictures   scenes painted once, read as training batches
    common     what every training shares: budget, resuming, moving average, loss curve
    tokenizer  words to numbers: CLIP's byte-pair files for the picture world's words
    clip       text and image tower, contrastively
    vae        the KL autoencoder
    unet       the noise prediction on cached latents
    export     the folder `weights/embedded/`

`python -m training all --out runs/embedded` does everything.
"""
