"""What all embedded services share: ids, time, errors, listing, the app skeleton, dataset addresses."""
