package words

import "testing"

func TestWords(t *testing.T) {
	for got, want := range map[string]string{
		Count(0, "layer", "layers"): "0 layers", Count(1, "layer", "layers"): "1 layer", Count(11, "layer", "layers"): "11 layers",
		Some(1, "layer"): "1 of its layers", Some(2, "layer"): "2 of its layers",
		SomeOf(1, 1, "image"): "its image", SomeOf(1, 3, "image"): "1 of its 3 images", SomeOf(2, 2, "image"): "2 of its 2 images",
		Pick(1, "is", "are"): "is", Pick(0, "is", "are"): "are", Pick(2, "is", "are"): "are",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
