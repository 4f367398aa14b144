"""Protocols that measure a backbone: linear, semi-supervised, SVM, nearest neighbours."""
