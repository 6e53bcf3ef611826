"""Fine-tuning: the LightningModule, data loading, Trainer, checkpoints, tracking and export."""
