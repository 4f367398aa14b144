"""Protocols that measure a frozen or fine-tuned backbone: linear, semi-supervised, SVM, neighbours."""
