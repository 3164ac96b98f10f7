"""The common part of all embedded services: ids, time, errors, listing, the app skeleton, dataset addresses."""
