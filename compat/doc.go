// Package compat holds SidecarSet against clients written for OpenKruise.
//
// v1alpha1 is spoken with the types of Kruise's published module (its newest that the module proxy serves, 1.8);
// v1beta1, which that module does not have, with unstructured objects.
package compat
