"""The evaluation of a trained model beside the training mean, inverse distance weighting and optimal interpolation."""
